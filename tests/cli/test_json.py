"""`--json`: every command for programs, its output by its schema, and errors as objects on stderr."""

import json
from pathlib import Path

import pytest
from support import schemas
from support.records import STARTED, record, started
from support.runs import ROOT, finish, mprun, side_by_side, start, write

WORK = """
    import json
    import time

    def parse(text):
        print("parses")
        return json.loads(text)

    def wait():
        print("waits", flush=True)
        time.sleep(60)
    """
JOB = """
    params: {x: {default: 1}}
    tasks:
      - {name: bad, target: "work:parse", args: ["{"], retry: 1}
      - {name: good, target: "work:parse", args: ["[1]"], limits: {open_files: 100}, expect: {result: [1]}}
      - {name: each, target: "builtins:abs", args: ["${item}"], foreach: "${tasks.good.result}"}
      - {name: after, target: "builtins:abs", args: [1], depends_on: bad}
      - {name: port, command: "sleep 60", daemon: true, ready: {command: ["true"]}}
    """


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A directory with a run that failed."""
    folder = tmp_path_factory.mktemp("json")
    write(folder, work=WORK, job=JOB, job_bad="tasks:\n  - {target: work:parse, retires: 1}\n  - nmae: x\n")
    write(folder, job_wait="tasks: [{name: wait, target: 'work:wait'}]")
    assert mprun("job.yaml", cwd=folder).code == 1
    return folder


def objects(text):
    """The objects in lines, each by the schema of messages."""
    found = [json.loads(line) for line in text.splitlines()]
    assert [schemas.refusals("error", one) for one in found] == [[]] * len(found)
    return found


def test_every_output_conforms_to_its_schema(desk):
    commands = [
        *(["show", "--json"], ["tree", "--json"], ["runs", "--json"], ["plan", "--json", "job.yaml"]),
        *(
            ["logs", "--json"],
            ["validate", "--json", "job.yaml", "job_bad.yaml"],
            ["runs", "--json", "-n", "1"],
        ),
        ["runs", "--prune", "0s", "--dry-run", "--json"],
    ]
    for command, run in zip(
        commands, side_by_side(lambda command: mprun(*command, cwd=desk), commands), strict=True
    ):
        whole = command[0] in ("show", "tree", "plan")
        values = list(map(json.loads, [run.stdout] if whole else run.stdout.splitlines()))
        assert (run.stderr, bool(values)) == ("", True)
        for value in values:
            assert schemas.refusals(command[0], value) == [], command


def test_plans_of_all_jobs_conform_to_the_schema(tmp_path):
    jobs = sorted((ROOT / "jobs").glob("*.yaml"))
    plans = side_by_side(lambda job: mprun("plan", "--json", job, cwd=tmp_path), jobs)
    planned = [plan for plan in plans if plan.code == 0]
    assert len(planned) > 30
    for plan in planned:
        assert schemas.refusals("plan", json.loads(plan.stdout)) == []


def test_failure_has_its_traceback_place_and_log(desk):
    tasks = {task["task"]: task for task in json.loads(mprun("show", "--json", cwd=desk).stdout)["tasks"]}
    error = tasks["bad"]["error"]
    assert (error["type"], error["file"], error["line"]) == ("JSONDecodeError", str(desk / "work.py"), 7)
    assert error["traceback"].startswith("Traceback (most recent call last):")
    assert error["message"] in error["traceback"]
    log = Path(tasks["bad"]["log"])
    assert (log.is_absolute(), log.name) == (True, "bad.2.log")
    assert log.read_text().startswith("parses\n")
    assert [tasks[name]["error"] for name in ("good", "after", "port")] == [None] * 3
    assert (tasks["after"]["log"], Path(tasks["good"]["log"]).name) == (None, "good.1.log")


def test_missing_and_hostile_files_of_a_failure_are_nulls(tmp_path):
    exited = {
        **{"event": "task_exited", "pid": 5, "exit_code": 1, "signal": None, "duration": 1, "cpu": None},
        **{
            "max_rss": None,
            "threads": None,
            "error": {"type": "E", "message": "m"},
            "orphans": [],
            "attempt": 1,
        },
    }
    stamp = {key: STARTED[key] for key in ("time", "run")}
    names = ("gone", "huge", "list", "odd", "text", "nul")
    ends = [{**stamp, **exited, "task": name, "attempt": 1} for name in names]
    record(tmp_path, [STARTED, *map(started, names), *ends])
    (results,) = (tmp_path / ".mprun" / "runs").glob("*")
    (results / "results").mkdir(exist_ok=True)
    frame = '  File "/a/work.py", line 12, in f\n'
    forged = {
        # More than any that mprun writes.
        "huge": {"type": "E", "message": "", "traceback": frame * 100_000},
        "list": [1],
        "odd": {"type": 1, "message": {"a": 1}, "traceback": frame * 20_000},
        "text": {"type": "E", "message": "m\n" + frame, "traceback": 5},
        "nul": {"type": "E\0", "message": "x", "traceback": '  File "/a", line ' + "9" * 5000 + ", in f\n"},
    }
    for name, value in forged.items():
        (results / "results" / f"{name}.1.error.json").write_text(json.dumps(value))
    shown = mprun("show", "--json", cwd=tmp_path)
    value = json.loads(shown.stdout)
    assert schemas.refusals("show", value) == []
    errors = {task["task"]: task["error"] for task in value["tasks"]}
    assert (errors["gone"], errors["list"]) == (None, None)
    assert errors["huge"]["message"] == "an error with more than 1 MiB, which is not read"
    assert (errors["odd"]["type"], errors["odd"]["file"], errors["odd"]["line"]) == ("", "/a/work.py", 12)
    assert len(errors["odd"]["traceback"]) == 65536
    assert (errors["text"]["traceback"], errors["text"]["line"]) == ("", None)
    assert errors["nul"]["line"] is None


def test_mistakes_are_objects_with_their_place(desk):
    where = {"file": "job_bad.yaml", "line": 2, "column": 26}
    expected = {
        "error": "unknown key `retires` in task `Process-1`",
        **where,
        "hint": "did you mean `retry`?",
    }
    for command in (["plan", "--json"], ["run", "--json"], ["plan", "--format", "json"]):
        run = mprun(*command, "job_bad.yaml", cwd=desk)
        assert (run.code, run.stdout) == (2, "")
        found = objects(run.stderr)
        assert (len(found), found[0]) == (2, expected)
    run = mprun("validate", "--json", "job_bad.yaml", "job.yaml", "none.yaml", cwd=desk)
    assert (run.code, run.stderr) == (2, "")
    bad, good, none = map(json.loads, run.stdout.splitlines())
    assert (bad["valid"], bad["tasks"], bad["errors"][0]) == (False, None, expected)
    assert (good["valid"], good["tasks"], good["errors"]) == (True, 5, [])
    assert none["errors"][0]["error"] == "job file `none.yaml` not found"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["show", "--json", "--bad"], 2, "unknown option `--bad`; see `mprun show --help`"),
        (["shwo", "--json"], 2, "`shwo` is neither a command nor a job file; did you mean `mprun show`?"),
        (["show", "nothing", "--json"], 2, None),
        (["result", "bad", "--json"], 2, None),
        (["stop", "--json"], 2, "no active run in .mprun (use `--state-dir` for another directory)"),
        (["runs", "--json", "--keep", "1"], 2, "`--keep` and `--dry-run` need `--prune`"),
        (["run", "--json", "job.yaml", "-k", "none"], 4, None),
        (["run", "--json", "job.yaml", "--events", "-"], 2, None),
        (["logs", "--json", "none"], 2, None),
        (["resume", "--json", "--rerun", "none"], 4, None),
        (["plan", "--json", "job.yaml", "-p", "y=1"], 2, None),
    ],
)
def test_error_of_a_command_is_one_object(command, code, message, desk):
    run = mprun(*command, cwd=desk)
    assert (run.code, run.stdout) == (code, "")
    found = [one for one in objects(run.stderr) if "error" in one]
    assert len(found) == 1
    assert message in (None, found[0]["error"])


def test_words_after_two_dashes_are_not_options(desk):
    run = mprun("result", "--", "--json", cwd=desk)
    assert (run.code, run.stderr.startswith("error: run ")) == (2, True)


def test_warnings_and_notes_are_objects(desk, tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'builtins:print', args: [3.10], daemon: true}]")
    planned = mprun("plan", "--json", "job.yaml", cwd=tmp_path)
    warnings = objects(planned.stderr)
    assert all("warning" in one for one in warnings)
    assert [one["line"] for one in warnings] == [1, None]
    checked = json.loads(mprun("validate", "--json", "job.yaml", cwd=tmp_path).stdout)
    assert (checked["valid"], checked["warnings"]) == (True, warnings)
    for number in range(2):
        record(tmp_path, [STARTED], name=f"20260101-120000.000-000{number}")
    listed = mprun("runs", "--json", "-n", "1", cwd=tmp_path)
    assert objects(listed.stderr) == [{"note": "1 of 2 runs shown; `-n 0` lists all"}]


@pytest.mark.parametrize("secret", ["line", 'a"b\u202e', "##[error]"])
def test_secret_in_an_error_is_hidden_and_the_keys_stay(secret, tmp_path):
    params = "params: {word: {secret: true}, n: {type: integer}}"
    write(tmp_path, job=f"{params}\ntasks: [{{target: 'builtins:print'}}]")
    given = ("-p", f"word={secret}", "-p", f"n={secret}")
    run = mprun("plan", "--json", "job.yaml", *given, cwd=tmp_path, env={"GITHUB_ACTIONS": "true"})
    found = [error for error in objects(run.stderr) if "`n`" in error["error"]]
    assert (run.code, len(found)) == (2, 1), run.stderr
    assert (found[0]["line"], "`***`" in found[0]["error"]) == (1, True), found


def test_imports_that_print_and_fail_leave_stdout_alone(tmp_path):
    write(tmp_path, work='print("hello")\nraise ValueError("no")', job="tasks: [{target: 'work:f'}]")
    run = mprun("run", "--json", "job.yaml", cwd=tmp_path)
    (error,) = objects(run.stderr)
    assert (run.code, run.stdout, error["line"]) == (2, "", 1)
    assert error["output"].startswith("hello\n")


def test_run_prints_itself_at_its_end(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:parse', args: ['[1]']}]")
    run = mprun("run", "--json", "-q", "job.yaml", cwd=tmp_path)
    value = json.loads(run.stdout)
    assert (run.code, run.stderr, schemas.refusals("show", value)) == (0, "", [])
    assert (value["outcome"], value["tasks"][0]["result"]) == ("succeeded", [1])
    assert run.stdout == mprun("show", "--json", cwd=tmp_path).stdout
    dry = mprun("job.yaml", "--dry-run", "--json", cwd=tmp_path)
    assert (dry.code, dry.stdout, len(objects(dry.stderr))) == (0, "", 1)


def test_stopped_run_conforms_to_the_schemas(desk, tmp_path):
    state = tmp_path / "state"
    process = start("job_wait.yaml", "--state-dir", state, cwd=desk)
    assert b"waits" in next(line for line in process.stdout if b"waits" in line)
    shown = json.loads(mprun("show", "--json", cwd=desk, state_dir=state).stdout)
    assert schemas.refusals("show", shown) == []
    assert shown["tasks"][0]["now"]["threads"] == 1
    tree = json.loads(mprun("tree", "--json", cwd=desk, state_dir=state).stdout)
    stopped = mprun("stop", "wait", "--json", cwd=desk, state_dir=state)
    finish(process, state)
    assert (stopped.code, stopped.stderr) == (0, "")
    assert [schemas.refusals("tree", tree), schemas.refusals("stop", json.loads(stopped.stdout))] == [[], []]

"""The record of a run, and the commands that read it, also if it is damaged or newer."""

import json
import os
import re
import stat
from pathlib import Path

import jsonschema
import pytest
from support.records import FINISHED, STAMP, STARTED, read, record
from support.runs import eventually, finish, mprun, recorded_starts, start, survivors, write

from mprun.jobfile.schema.job_schema import schema_text

WORK = """
    import os
    import time

    def answer():
        print("forty-two")
        return {"answer": 42, "ü": [1, None]}

    def fail():
        raise KeyError("missing")

    def die():
        os.kill(os.getpid(), 9)

    def serve():
        print("serving", flush=True)
        time.sleep(60)

    def unlike_json():
        return {1, 2}

    def wait_for(name):
        while not os.path.exists(name):
            time.sleep(0.005)

    def sleep_until_killed():
        time.sleep(60)
    """
JOB = """
    tasks:
      - {name: answer, target: work:answer}
      - {name: fail, target: work:fail}
      - {name: die, target: work:die}
      - {name: never, target: work:answer, depends_on: [fail, answer]}
      - {name: serve, target: work:serve, daemon: true}
      - {name: unlike, target: work:unlike_json}
    join: [answer]
    """


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A directory with one run that has every kind of event."""
    path = tmp_path_factory.mktemp("desk")
    write(path, work=WORK, job=JOB)
    run = mprun("job.yaml", cwd=path)
    assert run.code == 1
    return path, run


@pytest.fixture
def desk(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    return tmp_path


# -- the record itself


def test_every_event_obeys_the_schema(made):
    _, run = made
    validator = jsonschema.Draft7Validator(json.loads(schema_text("event")))
    for event in run.events:
        validator.validate(event)
    kinds = {event["event"] for event in run.events}
    today = {"run_started", "task_started", "task_stopping", "task_exited", "task_finished", "task_joined"}
    assert kinds >= today | {"run_finished"}
    assert (run.events[0]["event"], run.events[-1]["event"]) == ("run_started", "run_finished")
    assert len({event["run"] for event in run.events}) == 1
    assert [event["time"] for event in run.events if "Z" not in event["time"]] == []


def test_every_event_has_exactly_the_specified_fields(made):
    """The schema allows additional keys, but mprun writes only those that it describes."""
    _, run = made
    schema = json.loads(schema_text("event"))
    for event in run.events:
        part = schema["definitions"][event["event"]]
        assert set(event) - {"event", "time", "run"} == set(part["properties"])


def test_the_outcomes_of_one_run(made):
    _, run = made
    assert {e["task"]: e["outcome"] for e in run.of("task_finished")} == {
        "answer": "succeeded",
        "fail": "failed",
        "die": "failed",
        "never": "skipped",
        "serve": "stopped",
        "unlike": "succeeded",
    }
    assert run.result("answer") == {"answer": 42, "ü": [1, None]}
    assert run.one("task_finished", "unlike")["result_kind"] == "repr"
    assert run.one("task_exited", "die")["signal"] == "SIGKILL"
    assert run.one("task_exited", "fail")["error"] == {"type": "KeyError", "message": "'missing'"}
    assert run.one("run_finished")["counts"] == {"succeeded": 2, "failed": 2, "skipped": 1, "stopped": 1}


def test_run_directory_is_readable_by_its_owner_only(made):
    path, run = made
    modes = {found: stat.S_IMODE(found.stat().st_mode) for found in (path / ".mprun").rglob("*")}
    directory = Path(run.directory.path)
    assert {directory / "events.jsonl", directory / "logs" / "answer.1.log"} <= set(modes)
    assert any(found.parent.name == "results" for found in modes)
    for found, mode in modes.items():
        if found.name != ".gitignore":
            assert mode == (0o700 if found.is_dir() else 0o600), found
    assert stat.S_IMODE((path / ".mprun").stat().st_mode) == 0o700
    assert (path / ".mprun" / ".gitignore").read_text() == "*\n"


def test_a_generous_umask_changes_nothing(desk):
    run = mprun("-q", "job.yaml", cwd=desk, preexec_fn=lambda: os.umask(0))
    modes = {
        stat.S_IMODE(path.stat().st_mode) for path in Path(run.directory.path).rglob("*") if path.is_file()
    }
    assert modes == {0o600}


# -- reading it


def test_show_repeats_what_the_run_showed(made):
    path, run = made
    shown = mprun("show", cwd=path)
    assert (shown.code, shown.stderr) == (0, "")
    run_part, _, results = shown.stdout.partition("results:\n")
    head, file, names, *rows = run_part.splitlines()
    *results, over = results.splitlines()
    assert head == run.stderr.splitlines()[0]
    assert file.startswith(f"file {path}/job.yaml, started 20")
    table = run.stderr.splitlines()
    begin = table.index(names)
    assert [names, *rows] == table[begin : begin + 7]
    assert results == ['  answer  {"answer": 42, "ü": [1, null]}', "  unlike  {1, 2}"]
    assert over.startswith("failed: exit 1 after ")


def test_show_json_is_complete(made):
    path, run = made
    shown = mprun("show", "--json", cwd=path)
    value = json.loads(shown.stdout)
    assert value["run"] == run.one("run_started")
    assert value["finished"] == run.one("run_finished")
    assert {task["task"]: task["outcome"] for task in value["tasks"]} == {
        e["task"]: e["outcome"] for e in run.of("task_finished")
    }
    (attempt,) = next(task for task in value["tasks"] if task["task"] == "die")["attempts"]
    assert attempt == {
        "started": run.one("task_started", "die"),
        "ready": None,
        "stopping": None,
        "exited": run.one("task_exited", "die"),
        "retrying": None,
    }


def test_logs_of_several_tasks_have_names_in_front(made):
    path, run = made
    assert mprun("logs", "answer", cwd=path).stdout == "forty-two\n"
    assert mprun("logs", "answer", "serve", cwd=path).stdout == "answer | forty-two\nserve  | serving\n"
    everything = mprun("logs", cwd=path)
    assert (everything.code, everything.stderr) == (0, "")
    assert {"answer | forty-two", "serve  | serving"} <= set(everything.stdout.splitlines())
    assert mprun("logs", "never", cwd=path).stdout == ""
    wrong = mprun("logs", "anwser", cwd=path)
    assert (wrong.code, wrong.stdout) == (2, "")
    assert (
        wrong.stderr
        == f"error: run {run.one('run_started')['run']} has no task `anwser`; did you mean `answer`?\n"
    )


def test_task_named_main_has_a_log_of_its_own(tmp_path):
    write(tmp_path, work=WORK, job="tasks:\n  - {name: main, target: work:answer}")
    run = mprun("-q", "job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert mprun("logs", cwd=tmp_path).stdout == "main | forty-two\n"
    assert mprun("logs", "main", cwd=tmp_path).stdout == "forty-two\n"


def test_run_is_found_by_the_beginning_of_its_id(desk):
    first, second = (mprun("-q", "job.yaml", cwd=desk).one("run_started")["run"] for _ in range(2))
    assert first < second
    assert f"run {second}" in mprun("show", cwd=desk).stdout
    assert f"run {first}" in mprun("show", first, cwd=desk).stdout
    assert f"run {first}" in mprun("show", first[:-1], cwd=desk).stdout
    assert "forty-two" in mprun("logs", "--run", first, cwd=desk).stdout
    both = mprun("show", first[:4], cwd=desk)
    assert both.code == 2
    found = f"2 runs in .mprun with an id that begins with `{first[:4]}`"
    assert both.stderr == f"error: {found}; the newest run is {second}\n"


@pytest.mark.parametrize("name", ["nonsense", "../../etc", "\x1b[31m", "/"])
def test_error_for_an_unknown_run_names_the_newest(name, made):
    path, run = made
    shown = mprun("show", name, cwd=path)
    assert (shown.code, shown.stdout) == (2, "")
    assert shown.stderr.startswith("error: no run in .mprun with an id that begins with ")
    assert shown.stderr.endswith(f"; the newest run is {run.one('run_started')['run']}\n")
    assert "\x1b" not in shown.stderr


def test_the_name_of_a_task_in_place_of_a_run_is_understood(made):
    path, _ = made
    for name in ("answer", "answer it"):
        shown = mprun("show", name, cwd=path)
        assert (shown.code, "for the task" in shown.stderr) == (2, name == "answer")
    assert "`mprun logs answer`; its attempts: `mprun show -v`" in mprun("tree", "answer", cwd=path).stderr


# -- damaged records


def damaged(desk, lines):
    record(desk, lines)
    results = [read(desk, *command) for command in (["show"], ["show", "--json"], ["logs"])]
    for result in results:
        assert "Traceback" not in result.stderr
    return results


UNSEEN = re.compile(
    r"\ninterrupted: mprun itself was killed; exit code unknown, "
    r"last event \d+\.\d\ds after the start\n\Z"
)


def test_torn_last_line_is_left_out_with_a_warning(desk):
    name = record(desk, [STARTED, FINISHED])
    path = desk / ".mprun" / "runs" / name / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event":"run_finished","ti')
    before = path.read_bytes()
    shown = read(desk, "show")
    assert shown.code == 0
    assert shown.stderr == f"warning: .mprun/runs/{name}/events.jsonl: line 3 is torn, left out\n"
    assert "a     succeeded" in shown.stdout
    assert UNSEEN.search(shown.stdout)
    assert path.read_bytes() == before


GARBAGE = [
    "nonsense",
    "",
    "[]",
    "5",
    "\x00\x01",
    '"text"',
    "{" * 100_000,
    json.dumps({"event": ["task_finished"]}),
    json.dumps({"event": "task_finished"}),
    json.dumps({**FINISHED, "task": {"a": 1}}),
    json.dumps({**FINISHED, "task": None}),
    json.dumps({**FINISHED, "attempts": "many"}),
    json.dumps({**STARTED, "time": 5}),
    json.dumps(
        {"event": "task_exited", **{k: STARTED[k] for k in ("time", "run")}, "task": "a", "attempt": 1}
    ),
]
PASSED_OVER = [
    json.dumps({"event": "of_the_future", "time": "", "run": ""}),
    json.dumps({**FINISHED, "new_key": 1}),
    json.dumps({**FINISHED, "event": "task_joined", "position": 1, "of": 1}),
]


def test_garbage_in_the_middle_is_left_out_with_a_warning(desk):
    shown, as_json, logs = damaged(desk, [STARTED, *GARBAGE, *PASSED_OVER, FINISHED])
    assert shown.code == as_json.code == logs.code == 0
    warnings = shown.stderr.splitlines()
    assert len(warnings) == len(GARBAGE)
    assert "line 2 is not a JSON object, left out" in warnings[0]
    assert all(line.startswith("warning: .mprun/runs/") for line in warnings)
    assert all(len(line) < 400 for line in warnings)
    assert logs.stderr == shown.stderr
    assert "a     succeeded" in shown.stdout
    assert [task["task"] for task in json.loads(as_json.stdout)["tasks"]] == ["a"]


@pytest.mark.parametrize("value", ["1e999", "NaN", "-1e400", "9" * 400])
def test_numbers_out_of_range_are_damage(value, desk):
    line = json.dumps({**STARTED, "event": "run_finished", "outcome": "failed", "exit_code": 1, "counts": {}})
    shown, *_ = damaged(desk, [STARTED, line.replace('"format"', f'"duration": {value}, "format"')])
    assert shown.code == 0
    assert "a run_finished event is not whole: `duration` is not float" in shown.stderr


@pytest.mark.parametrize("written", [3, 99, "new", None])
def test_a_newer_format_is_refused_by_name(written, desk):
    shown, as_json, logs = damaged(desk, [{**STARTED, "format": written}, FINISHED])
    message = (
        f"run {STAMP['run']}: this record has the format {written}, "
        "and this mprun reads up to 2: upgrade mprun"
    )
    assert {(result.code, result.stdout) for result in (shown, as_json, logs)} == {(2, "")}
    assert shown.stderr == logs.stderr == f"error: {message}\n"
    assert json.loads(as_json.stderr)["error"] == message


def test_empty_record_is_shown(desk):
    shown, as_json, logs = damaged(desk, [""])
    assert shown.code == as_json.code == logs.code == 0
    assert json.loads(as_json.stdout) == {
        "outcome": "interrupted",
        "run": None,
        "host_changes": [],
        "tasks": [],
        "finished": None,
        "not_shown": None,
        "repeat": None,
    }


def test_a_corrupt_run_does_not_affect_others(desk):
    record(desk, ["nonsense"], name="99990101-000000.000-ffff")
    record(desk, [{**STARTED, "format": 9}], name="99990101-000000.000-eeee")
    (desk / ".mprun" / "runs" / "99990101-000000.000-dddd").mkdir()
    (desk / ".mprun" / "runs" / "a file").touch()
    assert read(desk, "-q", "job.yaml").code == 1
    mine = min(os.listdir(desk / ".mprun" / "runs"))
    assert read(desk, "show", mine).stdout.startswith("job: 6 tasks")
    assert read(desk, "logs", "answer", "--run", mine).stdout == "forty-two\n"


def test_escape_codes_in_a_record_do_not_reach_the_terminal(desk):
    evil = "\x1b]0;owned\x07"
    name = record(desk, [{**STARTED, "job": evil, "file": evil}, {**FINISHED, "task": evil, "reason": evil}])
    assert name
    for command in (["show"], ["logs"]):
        result = read(desk, *command)
        assert result.code == 0
        assert "\x1b" not in result.stdout + result.stderr
    assert json.loads(read(desk, "show", "--json").stdout)["run"]["job"] == evil


def test_record_cannot_name_files_outside_the_run(desk, tmp_path):
    (tmp_path / "secret.1.log").write_text("secret")
    record(desk, [STARTED, {**FINISHED, "task": "../../../../secret"}])
    result = read(desk, "logs")
    assert result.code == 0
    assert "secret\n" not in result.stdout


def test_a_run_whose_engine_was_killed_is_shown_as_interrupted(desk):
    write(desk, job="tasks:\n  - {name: s, target: work:sleep_until_killed}")
    process = start("job.yaml", cwd=desk)
    eventually(lambda: recorded_starts(desk / ".mprun"))
    running = read(desk, "show")
    assert running.stdout.endswith("running: s\n")
    process.kill()
    run = finish(process, desk / ".mprun")
    assert run.code == -9
    shown = read(desk, "show")
    assert (shown.code, shown.stderr) == (0, "")
    assert UNSEEN.search(shown.stdout)
    # The launcher kills what runs when it reads the end of the socket.
    eventually(lambda: not survivors(run.events))


# -- the state directory


@pytest.mark.parametrize("obstacle", ["a file", "a file above", "a link to nowhere"])
def test_state_directory_that_cannot_be_written_is_replaced(obstacle, desk, tmp_path):
    state = desk / "state"
    if obstacle == "a file":
        state.write_text("mine")
    elif obstacle == "a file above":
        state.write_text("mine")
        state = state / "below"
    else:
        state.symlink_to("nowhere/at/all")
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    run = mprun("-q", "job.yaml", "--state-dir", str(state), cwd=desk, env={"TMPDIR": str(elsewhere)})
    assert run.code == 1
    warning = run.stderr.splitlines()[0]
    why = "cannot be written: " if obstacle == "a file above" else "is not used: `state` is a "
    assert warning.startswith(f"warning: the state directory {state} {why}")
    assert f"; the record of this run is in {elsewhere}/mprun-" in warning
    (events,) = elsewhere.glob("mprun-*/runs/*/events.jsonl")
    assert "run_finished" in events.read_text()
    assert stat.S_IMODE(events.parents[2].stat().st_mode) == 0o700
    if obstacle == "a file":
        assert state.read_text() == "mine"


def test_two_runs_at_once_in_one_state_directory(desk):
    """Each waits for a file from the other's task, so that they do run at the same time."""
    write(
        desk,
        job1="tasks:\n  - {target: work:wait_for, args: [two]}\n  - {target: builtins:open, args: [one, w]}",
        job2="tasks:\n  - {target: work:wait_for, args: [one]}\n  - {target: builtins:open, args: [two, w]}",
    )
    both = [start("-q", f"job{number}.yaml", cwd=desk) for number in (1, 2)]
    for process in both:
        assert finish(process, desk / ".mprun").code == 0
    assert len(os.listdir(desk / ".mprun" / "runs")) == 2


def test_the_id_of_a_run_before_a_task_is_not_a_task(tmp_path):
    write(tmp_path, job="tasks: [{name: a, command: ls}]\n")
    run = mprun("job.yaml", cwd=tmp_path).one("run_started")["run"]
    shown = mprun("logs", run, "a", cwd=tmp_path)
    assert (shown.code, shown.stderr.count(f"; write `--run {run}`\n")) == (2, 1)

"""The report of a run: what is in the page, that nothing in it is run, and that it never disturbs a run."""

import copy
import html
import json
import os
import re
import resource
import time
from collections import deque
from pathlib import Path
from statistics import median

import pytest
from support.pages import assert_safe
from support.records import FINISHED, STAMP, STARTED, ended, exited, read, record, started
from support.report_records import large_run
from support.runs import eventually, finish, mprun, start, write

from mprun.cli.report_page import pieces
from mprun.record import reader
from mprun.record.run_list import find_run
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory

WORK = """
    import os
    import shutil
    import subprocess
    import sys

    def hi():
        print("hi")

    def fail():
        print("first")
        for number in range(150):
            print("line", number)
        print("</script><script>alert(1)</script>")
        subprocess.Popen(["sleep", "1000"])
        raise ValueError("no <b>rows</b>")

    def again():
        if not os.path.exists("once"):
            open("once", "w").close()
            sys.exit(3)

    def remove():
        shutil.rmtree("out")
    """
HOSTILE = "<img src=x onerror=alert(1)>"
JOB = f"""
    params: {{day: {{type: string, default: "<i>"}}}}
    tasks:
      - {{name: a, target: "work:hi"}}
      - {{name: "{HOSTILE}", target: "work:fail", depends_on: [a]}}
      - {{name: again, target: "work:again", retry: 1}}
      - {{name: never, target: "work:hi", depends_on: ["{HOSTILE}"]}}
    """


PLANNED = {"event": "tasks_planned", **STAMP, "group": "", "tasks": ["a", "b"], "items": {}}


def make(directory, *arguments, **options):
    """The page that `mprun report` writes."""
    code, output, stderr = read(directory, "report", *arguments, "-o", "page.html", **options)
    assert (code, output, stderr) == (0, "page.html\n", "")
    return (directory / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A run that failed, with the report that it wrote at its end."""
    directory = tmp_path_factory.mktemp("failed")
    write(directory, work=WORK, job=JOB)
    run = mprun("job.yaml", "--report", "end.html", cwd=directory)
    assert run.code == 1
    return run, directory, assert_safe((directory / "end.html").read_text("utf-8"))


# -- what is in it


def test_it_has_the_verdict_and_the_command_that_resumes_the_run(failed):
    run, _, page = failed
    assert re.search(r"exit 1 in \d+\.\d\ds: 2 succeeded \(1 flaky\), 1 failed, 1 skipped", page.text)
    assert f"Resume it with mprun resume {run.directory.run_id}\n" in page.text


def test_it_has_the_failure_with_the_last_hundred_lines_of_its_log_and_what_was_killed(failed):
    run, _, page = failed
    orphans = run.one("task_exited", HOSTILE)["orphans"]
    assert re.search(rf"orphans killed\n? *{orphans[0]}", page.text)
    assert "exit 1 (ValueError: no <b>rows</b>)" in page.text
    assert "\nline 149\n</script><script>alert(1)</script>\n" in page.text
    assert "line 54\n" not in page.text
    assert "Not here: what the log has before its last 100 lines." in page.text
    command = f"mprun logs '{HOSTILE}' --run {run.directory.run_id}"
    assert f"All of the log: {command}" in page.text


@pytest.mark.parametrize(
    ("log", "is_cut"),
    [("x\n" * 100, False), ("x\n" * 101, True), (f"{'50 %' * 9}\r" * 9000 + "done\n", True)],
    ids=["as many lines as there is room for", "one more", "one long line"],
)
def test_it_says_if_a_log_is_cut(tmp_path, log, is_cut):
    finished = {**FINISHED, "outcome": "failed", "reason": "exit 1", "result": None, "result_kind": "none"}
    run = record(tmp_path, [STARTED, started("a"), exited("a", exit_code=1), finished, ended("failed", 1)])
    (tmp_path / ".mprun" / "runs" / run / "logs" / "a.1.log").write_text(log, newline="")
    page = assert_safe(make(tmp_path))
    assert ("Not here: what the log has before its last" in page.text) == is_cut


def test_it_has_every_task_in_the_table_and_in_the_data_of_the_script(failed):
    _, _, page = failed
    names = ["a", HOSTILE, "again", "never"]
    assert [task[0] for task in page.data["tasks"]] == names
    outcomes = [page.data["outcomes"][task[1]] for task in page.data["tasks"]]
    assert outcomes == ["succeeded", "failed", "succeeded", "skipped"]
    assert [len(task[5]) for task in page.data["tasks"]] == [1, 1, 2, 0]
    classes = [one.get("class") for one in page.of("tr")]
    assert [f"o-{outcome}" for outcome in outcomes] == [one for one in classes if one]


def test_it_has_the_process_tree_the_params_and_the_hashes_of_the_files(failed):
    run, directory, page = failed
    for event in run.of("task_started"):
        assert re.search(rf"{event['pid']}{event['ppid']}", page.text.replace("\n", ""))
    assert '"<i>"' in page.text
    (file,) = run.one("run_started")["files"]
    assert re.search(rf"{re.escape(str(directory / 'job.yaml'))}\n? *{file['sha256']}", page.text)


def test_a_report_a_year_later_is_the_one_that_the_run_wrote_at_its_end(failed):
    _, directory, _ = failed
    assert make(directory) == (directory / "end.html").read_text("utf-8")


def test_it_has_the_rates_of_repeated_tasks(tmp_path, failed):
    assert 'id="rates"' not in (failed[1] / "end.html").read_text("utf-8")
    job = f'tasks: [{{name: "{HOSTILE}", command: "test $MPRUN_COPY != 3"}}, {{name: ok, command: "true"}}]'
    write(tmp_path, job=job)
    run = mprun("job.yaml", "--repeat", 8, "--seed", 1, "--report", "end.html", cwd=tmp_path)
    assert run.code == 1
    page = (tmp_path / "end.html").read_text("utf-8")
    assert_safe(page)
    (rates,) = re.findall(r'<section id="rates".*?</section>', page, re.DOTALL)
    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", rates)).split())
    assert text.startswith("How often each task failed Task Runs Failures Rate 95 % interval ")
    assert f"{HOSTILE} 8 1 12.5 % " in text
    assert "ok 8 0 0 % " in text
    assert f"first failure: {HOSTILE}@3; to repeat it: mprun job.yaml " in text


def test_it_compares_with_earlier_runs(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:hi'}]")
    runs = [mprun("job.yaml", cwd=tmp_path).directory.run_id for _ in range(2)]
    assert "Expected and actual duration" not in make(tmp_path, runs[0])
    page = assert_safe(make(tmp_path, runs[1]))
    assert "Expected and actual duration" in page.text
    assert page.data["tasks"][0][4] is not None


def test_it_has_the_dependencies_of_an_unchanged_job_file(failed):
    _, _, page = failed
    assert page.data["needs"] == [[], [0], [], [1]]
    assert len(page.of("path")) == 2
    assert "Dependencies" in page.text


def test_the_instances_of_a_task_are_one_node_and_those_of_a_result_have_its_dependencies(tmp_path):
    work = "def give():\n        return [1, 2, 3]\n\n    def take(one):\n        pass\n"
    job = """
        tasks:
          - {name: give, target: "work:give"}
          - {name: take, target: "work:take", foreach: "${tasks.give.result}", args: ["${item}"]}
          - {name: last, target: "work:give", depends_on: [take]}
        """
    write(tmp_path, work=f"    {work}", job=job)
    assert mprun("job.yaml", cwd=tmp_path).code == 0
    page = assert_safe(make(tmp_path))
    assert [task[0] for task in page.data["tasks"]] == [
        "give",
        "take[0] (1)",
        "take[1] (2)",
        "take[2] (3)",
        "last",
    ]
    assert page.data["needs"] == [[], [0], [0], [0], [1, 2, 3]]
    assert len(page.of("path")) == 2
    assert "take ×3" in page.text


def test_the_dependencies_are_those_of_the_run_whatever_became_of_the_job_file(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    (tmp_path / "job.yaml").unlink()
    page = assert_safe(make(tmp_path))
    assert page.data["needs"] == [[], [0], [], [1]]


def test_the_record_of_an_older_mprun_has_no_dependencies_and_the_page_says_so(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    record = mprun("job.yaml", cwd=tmp_path).directory.events
    lines = [json.loads(line) for line in Path(record).read_text().splitlines()]
    for line in lines:
        for key in ("needs", "resources", "env", "queued"):
            line.pop(key, None)
    Path(record).write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = assert_safe(make(tmp_path))
    assert page.data["needs"] is None
    assert "Not here: the record of an older mprun does not have them." in page.text


def test_it_shows_an_active_run(tmp_path):
    work = """
        import os, time

        def wait():
            while not os.path.exists("go"):
                time.sleep(0.005)
        """
    tasks = "[{name: a, target: 'work:wait'}, {name: b, target: 'work:wait', depends_on: [a]}]"
    write(tmp_path, work=work, job=f"tasks: {tasks}")
    process = start("job.yaml", cwd=tmp_path)
    try:
        eventually(lambda: "task_started" in "".join(map(Path.read_text, tmp_path.rglob("events.jsonl"))))
        page = assert_safe(make(tmp_path))
    finally:
        (tmp_path / "go").touch()
        finish(process, tmp_path)
    assert "still running, " in page.text
    assert [page.data["outcomes"][task[1]] for task in page.data["tasks"]] == ["running", "waiting"]
    assert page.data["tasks"][0][5][0][1] >= 0
    assert "Resume it" not in page.text


def test_it_shows_a_run_that_was_killed(tmp_path):
    events = [
        STARTED,
        started("a"),
        PLANNED,
    ]
    record(tmp_path, events)
    page = assert_safe(make(tmp_path))
    assert "mprun itself was killed: exit code unknown, last event 0.00s after the start" in page.text
    assert [page.data["outcomes"][task[1]] for task in page.data["tasks"]] == ["unknown", "not started"]


def test_without_o_it_is_named_for_the_run_and_with_a_dash_it_is_printed(tmp_path):
    run = record(tmp_path, [STARTED, ended()])
    assert read(tmp_path, "report") == (0, f"report-{run}.html\n", "")
    code, output, stderr = read(tmp_path, "report", "-o", "-")
    assert (code, stderr) == (0, "")
    assert output == (tmp_path / f"report-{run}.html").read_text("utf-8")


# -- nothing in it is run


def fields(value, path=()):
    """The path of each value in an event that could be another one."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name not in ("event", "format"):
                yield from fields(one, (*path, name))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from fields(one, (*path, number))
    yield path


TEXT = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>\"'&\0\x1b\u2028\ud800"
EVENTS = [
    {
        **STARTED,
        "params": {"p": "v"},
        "options": {"o": ["v"]},
        "files": [{"path": "p", "sha256": "h"}],
        "resources": {"db": 1},
    },
    {
        **PLANNED,
        "items": {"a": "item"},
        "needs": [[0]],
        "resources": [[0, 0, {"db": 1}]],
        "env": [[0, 0, ["KEY"]]],
    },
    started("a", queued={"seconds": 1.5, "lacked": "db"}),
    {"event": "task_ready", **STAMP, "task": "a", "attempt": 1},
    {"event": "task_stopping", **STAMP, "task": "a", "attempt": 1, "signal": "SIGTERM", "reason": "timeout"},
    exited(
        "a", exit_code=1, error={"type": "E", "message": "m", "traceback": "t"}, orphans=[7], left_running=[8]
    ),
    {
        **FINISHED,
        "outcome": "failed",
        "reason": "exit 1",
        "result": None,
        "result_kind": "none",
        "reused": False,
    },
    {"event": "task_joined", **STAMP, "task": "a", "position": 1, "of": 1},
    ended("failed", 1, counts={"failed": 1}),
]
PATHS = [(number, path) for number, event in enumerate(EVENTS) for path in fields(event) if path]


def with_hostile(events, number, path, value):
    events = copy.deepcopy(events)
    at = events[number]
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return events


def test_a_record_in_which_every_field_is_hostile_gives_a_safe_page(tmp_path):
    page = assert_safe_with_log(tmp_path, [*map(hostile, EVENTS)])
    assert "<img src=x onerror=alert(1)>" in page.text


def hostile(value):
    """The event with a hostile text in place of every text in it, and in place of every key that is data."""
    if isinstance(value, dict):
        fixed = ("event", "outcome", "time") if "event" in value else ()
        return {name: one if name in fixed else hostile(one) for name, one in value.items()}
    if isinstance(value, list):
        return [hostile(one) for one in value]
    return TEXT if isinstance(value, str) else value


def assert_safe_with_log(directory, events):
    record(directory, events)
    return assert_safe(make(directory))


@pytest.mark.parametrize("value", [TEXT, -1, 1e300, None, [TEXT], {TEXT: TEXT}], ids=repr)
def test_a_record_with_any_one_field_hostile_gives_a_safe_page(tmp_path, value):
    run = tmp_path / ".mprun" / "runs" / record(tmp_path, EVENTS)
    made = 0
    for number, path in PATHS:
        text = "\n".join(map(json.dumps, with_hostile(EVENTS, number, path, value)))
        (run / "events.jsonl").write_text(text + "\n")
        try:
            page = "".join(pieces(RunDirectory(str(run))))
        except reader.UnreadableRecord:
            continue
        assert_safe(page.encode("utf-8", "backslashreplace").decode())
        made += 1
    assert made > len(PATHS) // 2


def test_a_secret_is_masked_in_the_page_that_its_run_writes(tmp_path):
    job = """
        params: {token: {type: string, secret: true, required: true}}
        tasks:
          - {name: t, target: "work:say", args: ["${params.token}"]}
        """
    work = """
        def say(text):
            print("token", text)
            raise ValueError(text)
        """
    write(tmp_path, work=work, job=job)
    run = mprun("job.yaml", "--report", "r.html", cwd=tmp_path, env={"MPRUN_PARAM_TOKEN": "s3cr3t<&'t"})
    assert run.code == 1
    page = assert_safe((tmp_path / "r.html").read_text("utf-8"))
    assert "s3cr3t" not in page.text + page.blocks[1]
    assert "token ***" in page.text


# -- it never disturbs a run


@pytest.mark.parametrize("target", ["hi", "fail"])
def test_a_report_that_cannot_be_written_changes_no_exit_code_and_leaves_no_half_file(tmp_path, target):
    write(tmp_path, work=WORK, job=f"tasks: [{{name: t, target: 'work:{target}'}}]")
    process = start("job.yaml", "--report", "out.html", cwd=tmp_path)
    # No file beyond this size: EFBIG, where a full disk gives ENOSPC. The record is smaller.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (16_000, resource.RLIM_INFINITY))
    run = finish(process, tmp_path)
    assert run.code == (0 if target == "hi" else 1)
    assert "warning: cannot write the report `out.html`: File too large\n" in run.stderr
    assert not [name for name in os.listdir(tmp_path) if "out.html" in name]


def test_a_folder_that_a_task_removes_takes_the_report_with_it_and_nothing_else(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path, work=WORK, job="tasks: [{name: t, target: 'work:remove'}]")
    run = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_REPORT": "out/r.html"})
    assert run.code == 0
    assert "warning: cannot write the report `out/r.html`: No such file or directory\n" in run.stderr


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "job.yaml",
            "`--report` would overwrite `job.yaml`, which is not a report of mprun; name another",
        ),
        ("none/r.html", "cannot write `--report none/r.html`: its directory does not exist"),
        (".", "`--report` names `.`, which is not a regular file; name another one"),
    ],
)
def test_a_file_that_would_be_lost_or_cannot_be_is_refused_before_the_run(tmp_path, path, message):
    write(tmp_path, work=WORK, job="tasks: [{name: t, target: 'work:hi'}]")
    run = mprun("job.yaml", "--report", path, cwd=tmp_path)
    assert run.code == 2
    assert message in run.stderr
    assert run.directory is None


def test_a_report_is_overwritten_by_the_next(tmp_path):
    record(tmp_path, [STARTED, ended()])
    make(tmp_path)
    (tmp_path / "page.html").write_text("<!doctype html>\n<!-- report of mprun -->\nhalf")
    assert make(tmp_path).endswith("</html>")
    assert sorted(os.listdir(tmp_path)) == [".mprun", "page.html"]


def test_a_dry_run_writes_no_report(tmp_path):
    write(tmp_path, work=WORK, job="tasks: [{name: t, target: 'work:hi'}]")
    run = mprun("job.yaml", "--dry-run", "--report", "r.html", cwd=tmp_path)
    assert run.code == 0
    assert not (tmp_path / "r.html").exists()


# -- how large it is, and how long it takes


@pytest.mark.parametrize("every", [1, 100])
def test_the_page_of_ten_tasks_has_at_most_150_kb(tmp_path, every):
    run = large_run(tmp_path, 10, failing=every)
    for number in range(10):
        log = tmp_path / ".mprun" / "runs" / run / "logs" / f"crunch[{number}].1.log"
        log.write_text("<'\"&>é\n" * 20_000)
    assert len(make(tmp_path).encode()) <= 150_000


@pytest.mark.parametrize("every", [1, 100])
def test_the_page_of_ten_thousand_tasks_has_at_most_4_mb(tmp_path, every):
    large_run(tmp_path, 10_000, failing=every)
    page = make(tmp_path)
    assert len(page.encode()) <= 4_000_000
    page = assert_safe(page)
    assert len(page.data["tasks"]) == 10_000
    assert "The first 1000 of 10000 tasks, those that did not succeed before the others." in page.text


def test_the_page_of_a_hundred_thousand_tasks_drops_none_and_takes_at_most_200_mb(largest_report):
    path, memory = largest_report
    assert memory <= 200_000_000
    page = path.read_text("utf-8")
    assert page.count('"crunch[') == 100_000
    assert f"mprun show {STAMP['run']}" in page


def test_a_report_takes_little_more_time_than_to_read_its_record(tmp_path):
    large_run(tmp_path, 5_000)
    directory = find_run(str(tmp_path / ".mprun"), None)

    def cost(call):
        begin = time.process_time()
        call()
        return time.process_time() - begin

    def events():
        for line in reader.read_lines(directory):
            reader.apply_line(RunState(), line, [])

    # Side by side, because other processes run here, too.
    pairs = [(cost(events), cost(lambda: deque(pieces(directory), maxlen=0))) for _ in range(3)]
    assert median(made / read for read, made in pairs) < 3

"""Two runs compared, and the flaky tasks of many, by real runs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import schemas
from support.records import FINISHED, STARTED, ended, exited, read, record, started
from support.runs import environment, eventually, mprun, write

from mprun.record.comparison import DURATION
from mprun.record.state_dir import RunDirectory

WORK = """
    import os
    import time

    def steady():
        print(f"pid {os.getpid()} at {time.time()}, {object()!r} took {time.perf_counter():.3f}s")
        print("12 rows")

    def test(rows):
        print(f"{rows} rows")
        if rows == 13:
            raise ValueError(rows)

    def sleep(seconds):
        time.sleep(seconds)

    def once():
        if os.environ["MPRUN_ATTEMPT"] == "1":
            raise ValueError("once")
    """
JOB = """
    params: {rows: 12, seconds: 0.01}
    tasks:
      - {name: steady, target: work:steady}
      - {name: test, target: work:test, args: ["${params.rows}"]}
      - {name: slow, target: work:sleep, args: ["${params.seconds}"]}
    """


def run_id(run):
    return run.one("run_started")["run"]


def calm_run(tmp_path, *options):
    """The id of a run in which no task took much longer than it naps: on a busy machine one may."""

    def calm():
        run = mprun("job.yaml", "-q", *options, cwd=tmp_path)
        took = {event["task"]: event["duration"] for event in run.of("task_exited")}
        took["slow"] -= run.one("run_started")["params"]["seconds"]
        return max(took.values()) < DURATION.coarse_floor / 2 and run_id(run)

    return eventually(calm, 40)


def test_what_got_worse_is_shown(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    old = calm_run(tmp_path)
    write(tmp_path, job=f"{JOB}  - {{name: lint, target: work:steady}}\n")
    new = calm_run(tmp_path, "-p", "rows=13", "-p", "seconds=1.2")
    code, output, stderr = read(tmp_path, "compare", old, new)
    assert (code, stderr) == (1, "")
    lines = output.splitlines()
    assert lines[0].startswith(f"old: {old} of job, ")
    assert f"files changed: {tmp_path}/job.yaml" in lines
    assert "param rows: 12 -> 13" in lines
    assert "  worse  test: succeeded -> failed: exit 1 (ValueError: 13)" in lines
    assert re.search(r"worse  slow: \d\.\d\ds -> [1-9]\.\d\ds \(fewer than 3 earlier runs\)", output)
    assert "new tasks: lint" in lines
    assert output.count(", line ") == 1
    assert "  test, line 1\n    - 12 rows\n    + 13 rows" in output
    assert lines[-1] == "worse: 1 outcome, 1 duration"
    # The other way round, it got better.
    code, output, _ = read(tmp_path, "compare", new, old)
    assert (code, output.splitlines()[-1]) == (0, "nothing got worse")
    assert "gone tasks: lint" in output
    value = json.loads(read(tmp_path, "compare", old, new, "--json").stdout)
    assert schemas.refusals("compare", value) == []
    assert (value["worse"], value["same_job_file"], value["new_tasks"]) == (True, True, ["lint"])
    assert [change["task"] for change in value["durations"] if change["worse"]] == ["slow"]


def test_a_run_does_not_differ_from_itself_nor_much_from_the_next(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    first, second = (calm_run(tmp_path) for _ in range(2))
    for one, other in ((first, first), (first, second)):
        code, output, stderr = read(tmp_path, "compare", one, other)
        assert (code, stderr) == (0, "")
        assert output.splitlines()[2:] == ["no difference"]


def test_the_newest_run_is_compared_with_the_one_before_of_the_same_job_file_by_default(tmp_path):
    write(tmp_path, work=WORK, job=JOB, job_other="tasks: [{command: 'true'}]")
    code, _, stderr = read(tmp_path, "compare")
    assert (code, stderr.count("no runs in .mprun yet")) == (2, 1)
    oldest = run_id(mprun("job.yaml", "-q", cwd=tmp_path))
    code, _, stderr = read(tmp_path, "compare")
    assert code == 2
    assert f"no run in .mprun before {oldest} is of the same job file `{tmp_path}/job.yaml`" in stderr
    old = run_id(mprun("job.yaml", "-q", cwd=tmp_path))
    other = run_id(mprun("job_other.yaml", "-q", cwd=tmp_path))
    new = run_id(mprun("job.yaml", "-p", "rows=13", "-q", cwd=tmp_path))
    assert read(tmp_path, "compare") == read(tmp_path, "compare", old, new)
    assert read(tmp_path, "compare").code == 1
    assert read(tmp_path, "compare", other) == read(tmp_path, "compare", other, new)


def test_the_run_before_is_one_of_the_same_tasks_if_there_is_one(tmp_path):
    write(tmp_path, work=WORK, job=JOB)
    old = run_id(mprun("job.yaml", "-q", cwd=tmp_path))
    part = run_id(mprun("job.yaml", "-q", "-k", "steady", cwd=tmp_path))
    shard = run_id(mprun("job.yaml", "-q", "--partition", "slice:1/2", cwd=tmp_path))
    copies = run_id(mprun("job.yaml", "-q", "--repeat", 2, cwd=tmp_path))
    assert f"old: {shard} " in read(tmp_path, "compare").stdout
    new = run_id(mprun("job.yaml", "-q", cwd=tmp_path))
    assert read(tmp_path, "compare") == read(tmp_path, "compare", old, new)
    for before, arguments in ((part, ("-k", "steady")), (copies, ("--repeat", 3))):
        mprun("job.yaml", "-q", *arguments, cwd=tmp_path)
        assert f"old: {before} " in read(tmp_path, "compare").stdout


def test_runs_of_other_job_files_say_so(tmp_path):
    write(tmp_path, work=WORK, job=JOB, job_other="tasks: [{target: 'work:once', name: steady, retry: 1}]")
    old, new = (run_id(mprun(f"{name}.yaml", "-q", cwd=tmp_path)) for name in ("job", "job_other"))
    code, output, _ = read(tmp_path, "compare", old, new)
    assert f"the runs are of different job files: {tmp_path}/job.yaml and {tmp_path}/job_other.yaml" in output
    assert "  worse  steady: succeeded -> succeeded (flaky)" in output
    assert code == 1
    assert json.loads(read(tmp_path, "compare", old, new, "--json").stdout)["same_job_file"] is False


def test_a_run_that_is_not_there_is_an_error(tmp_path):
    record(tmp_path, [STARTED, FINISHED, ended()])
    code, _, stderr = read(tmp_path, "compare", STARTED["run"], "2027")
    assert code == 2
    assert "no run in .mprun with an id that begins with" in stderr


HOSTILE = "a\x1b[31m\u202eb\n::error::x"


def hostile_record(tmp_path, name, **finished):
    first = {**STARTED, "run": name, "job": HOSTILE, "file": HOSTILE, "params": {HOSTILE: finished}}
    first |= {"files": [{"path": HOSTILE, "sha256": name}, 3], "options": {"seed": HOSTILE}}
    lines = [first, started(HOSTILE), {**exited(HOSTILE), "duration": 1e300 if finished else 0}]
    record(tmp_path, [*lines, {**FINISHED, "task": HOSTILE, **finished}, "\x00torn"], name=name)
    log = RunDirectory(str(tmp_path / ".mprun" / "runs" / name)).log_file(HOSTILE, 1)
    Path(log.path).write_text(f"{HOSTILE} {len(finished)}\n" * 3)


def test_hostile_records_are_shown_in_plain_characters(tmp_path):
    old, new = "20260101-120000.000-abcd", "20260102-120000.000-abcd"
    hostile_record(tmp_path, old)
    hostile_record(tmp_path, new, outcome="failed", reason=HOSTILE, attempts=2)
    hostile_record(tmp_path, "20260103-120000.000-abcd", attempts=2**62)
    for arguments in (("compare", old, new), ("flaky",), ("show", new), ("show", new, "--json")):
        code, output, stderr = read(tmp_path, *arguments)
        assert code == int(arguments[0] == "compare"), stderr
        assert not re.search(r"[\x1b\u202e\x00]|^::", output + stderr, re.MULTILINE), arguments


# ---- flaky


def test_flaky_tasks_are_listed(tmp_path):
    job = "params: {rows: 12}\ntasks:\n  - {name: once, target: work:once, retry: 1}\n"
    job += "  - {name: test, target: work:test, args: ['${params.rows}']}\n"
    write(tmp_path, work=WORK, job=job)
    code, output, stderr = read(tmp_path, "flaky")
    assert (code, output) == (0, "")
    assert "no flaky task in 0 runs of .mprun" in stderr
    for rows in (12, 13):
        mprun("job.yaml", "-p", f"rows={rows}", "-q", cwd=tmp_path)
    code, output, stderr = read(tmp_path, "flaky")
    assert (code, stderr) == (0, "")
    head, row = output.splitlines()
    assert head.split()[:2] == ["TASK", "JOB"]
    # Each run had other params, so that `test` has reasons to end differently.
    assert row.split()[:6] == ["once", "job.yaml", "2", "0", "2", "100"]
    value = json.loads(read(tmp_path, "flaky", "--json").stdout)
    assert schemas.refusals("flaky", value) == []
    assert [(task["task"], task["flaky"], len(task["flaky_runs"])) for task in value["tasks"]] == [
        ("once", 2, 2)
    ]
    # With the same params, it has none.
    # Python takes a module of the same second and the same size for the one that it has compiled.
    write(tmp_path, work=WORK.replace("rows == 13", "rows  ==  12"))
    newest = run_id(mprun("job.yaml", "-q", cwd=tmp_path))
    value = json.loads(read(tmp_path, "flaky", "--json").stdout)
    assert {task["task"]: task["failed_runs"] for task in value["tasks"]} == {"once": [], "test": [newest]}
    code, _, stderr = read(tmp_path, "flaky", "-n", "1")
    assert "1 of 3 runs read; `-n 0` reads all" in stderr


@pytest.mark.parametrize("line", ['{"event":"run_started","format":99}', "torn"])
def test_a_record_that_cannot_be_read_is_named(tmp_path, line):
    name = record(tmp_path, [line])
    code, _, stderr = read(tmp_path, "flaky")
    assert code == 0
    assert f"the records of 1 run cannot be read, such as {name}" in stderr
    assert json.loads(read(tmp_path, "flaky", "--json").stdout)["unreadable"] == [name]


def from_input(directory, job):
    command = [sys.executable, "-m", "mprun", "-", "-q"]
    subprocess.run(command, cwd=directory, env=environment(), input=job.encode(), check=False, timeout=50)


def test_a_job_from_standard_input_is_compared_with_the_one_before_of_the_same_name(tmp_path):
    for number in range(3):
        from_input(tmp_path, f"name: a\ntasks: [{{name: t, command: echo {number}}}]")
    from_input(tmp_path, "name: b\ntasks: [{name: t, command: exit 1}]")
    code, _, stderr = read(tmp_path, "compare")
    assert code == 2
    assert "is of a job from standard input with the name `b`; name the runs to compare" in stderr
    from_input(tmp_path, "name: a\ntasks: [{name: t, command: exit 1}]")
    code, shown, _ = read(tmp_path, "compare", "--json")
    found = json.loads(shown)
    assert code == 1
    assert found["old"]["job"] == "a"
    assert [one["task"] for one in found["outcomes"]] == ["t"]

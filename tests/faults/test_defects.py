"""Defects of mprun itself: an exception that nothing expects ends the run in order."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from support.runs import eventually, finish, mprun, newest_run, start, survivors, write

from mprun.failpoints import DEFECTS

# Every kind of decision: results that are referred to, retries, services, tasks that wait.
JOB = """
    defaults: {stop: {grace: 200ms}}
    tasks:
      - {name: list, command: "echo '[1, 2]'", capture: json}
      - {name: each, command: [echo, '${item}'], foreach: '${tasks.list.result}'}
      - {name: again, command: "exit 1", retry: {retries: 2, delay: 10ms}, allow_failure: true}
      - {name: stubborn, command: "trap '' TERM; while :; do sleep 0.1; done"}
      - {name: never, command: [echo, never], depends_on: [stubborn]}
    """
LINE = re.compile(r"^error: internal error: (.*); please report it with (.*)$", re.MULTILINE)


def ends_in_order(run, tmp_path):
    """Check that a run with a defect has ended in order; its error."""
    assert run.code == 3, run.stderr
    assert "Traceback" not in run.stderr + run.stdout
    ((what, path),) = LINE.findall(run.stderr)
    text = (tmp_path / path).read_text()
    assert text.startswith("Traceback (most recent call last)")
    assert what in text
    assert Path(path).parent == Path(os.path.relpath(run.directory.path, tmp_path))
    end = run.events[-1]
    assert (end["event"], end["exit_code"], end["outcome"]) == ("run_finished", 3, "failed")
    assert survivors(run.events) == []
    return what


@pytest.mark.parametrize("hit", ["1", "4", "4+"])
@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_defect_stops_the_tasks_and_is_recorded_as_exit_3(tmp_path, name, hit):
    """(C54)"""
    # They come late, or fewer than four times.
    hit = {"loop.verdict": hit.replace("4", "1"), "loop.resolve": hit.replace("4", "2")}.get(name, hit)
    write(tmp_path, job=JOB)
    process = start("job.yaml", cwd=tmp_path, env={"MPRUN_FAILPOINTS": f"{name}=raise:{hit}"})
    if name == "loop.verdict":
        eventually(lambda: newest_run(tmp_path / ".mprun"))
        record = Path(newest_run(tmp_path / ".mprun").events)
        eventually(lambda: b'"task_started"' in record.read_bytes())
        process.send_signal(signal.SIGINT)
    run = finish(process, tmp_path / ".mprun")
    assert ends_in_order(run, tmp_path) == f"RuntimeError: injected at {name}"


@pytest.mark.parametrize("options", [["-q"], ["--events", "-"], ["--output", "none"]])
def test_a_defect_is_told_whatever_is_shown(tmp_path, options):
    """(C54)"""
    write(tmp_path, job=JOB)
    environment = {"MPRUN_FAILPOINTS": "reporter.handle=raise:5"}
    run = mprun("job.yaml", *options, cwd=tmp_path, env=environment)
    assert ends_in_order(run, tmp_path) == "RuntimeError: injected at reporter.handle"


def test_a_defect_while_the_record_cannot_be_written_ends_the_run(tmp_path):
    """(C54)"""
    write(tmp_path, job=JOB)
    failing = {"MPRUN_FAILPOINTS": "loop.collect=raise:2; record.before=enospc:3+"}
    run = mprun("job.yaml", cwd=tmp_path, env=failing)
    assert run.code == 3
    assert "Traceback" not in run.stderr
    assert "error: " in run.stderr
    assert survivors(run.events) == []


def test_a_killed_engine_with_a_defect_leaves_nothing(tmp_path):
    """(C54)"""
    write(tmp_path, job=JOB)
    failing = {"MPRUN_FAILPOINTS": "loop.collect=raise:2; record.after=kill:3"}
    run = mprun("job.yaml", cwd=tmp_path, env=failing)
    assert run.code == -signal.SIGKILL
    eventually(lambda: survivors(run.events) == [])


def test_a_defect_of_another_command_shows_no_traceback(tmp_path):
    """(C54)"""
    write(tmp_path, job="tasks: [{name: a, command: [echo, a]}]", sitecustomize="")
    (tmp_path / "sitecustomize.py").write_text(
        "import mprun.jobfile.loader as loader\n"
        "def load_job_file(*_, **__):\n    raise KeyError('injected')\n"
        "loader.load_job_file = load_job_file\n"
    )
    environment = {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    for command in ("plan", "run"):
        run = mprun(command, "job.yaml", cwd=tmp_path, env=environment)
        assert run.code == 3
        ((what, path),) = LINE.findall(run.stderr)
        assert what == "KeyError: 'injected'"
        assert "injected" in Path(path).read_text()
        assert "Traceback" not in run.stderr

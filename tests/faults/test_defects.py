"""Defects of mprun itself: an exception that nothing expects ends the run in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import (
    ROOT,
    environment,
    eventually,
    finish,
    mprun,
    newest_run,
    start,
    survivors,
    write,
)

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
# What is lost with some defects is waited for: not for the real five seconds.
LESS_TIME = "from mprun.engine import defects; defects.END_SECONDS = 1.0"
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
    hit = {"loop.verdict": hit.replace("4", "1"), "loop.resolve": hit.replace("4", "1")}.get(name, hit)
    write(tmp_path, job=JOB, sitecustomize=LESS_TIME)
    env = {"MPRUN_FAILPOINTS": f"{name}=raise:{hit}", "PYTHONPATH": str(tmp_path)}
    process = start("job.yaml", cwd=tmp_path, env=env)
    if name == "loop.verdict":
        eventually(lambda: newest_run(tmp_path / ".mprun"))
        record = Path(newest_run(tmp_path / ".mprun").events)
        eventually(lambda: b'"task_started"' in record.read_bytes())
        process.send_signal(signal.SIGINT)
    run = finish(process, tmp_path / ".mprun")
    assert ends_in_order(run, tmp_path) == f"RuntimeError: injected at {name}"


# Functions of every hand of the engine. A hand that fails in the middle has lost what it was about to do.
HANDS = (
    "mprun.scheduling.scheduler:Scheduler.begin",
    "mprun.scheduling.scheduler:Scheduler.handle_started",
    "mprun.scheduling.scheduler:Scheduler.handle_exited",
    "mprun.scheduling.scheduler:Scheduler.handle_deadline",
    "mprun.scheduling.scheduler:Scheduler.handle_ready",
    "mprun.scheduling.scheduler:Scheduler.handle_expanded",
    "mprun.scheduling.scheduler:Scheduler.stop",
    "mprun.scheduling.termination:Termination.watch",
    "mprun.engine.resolver:TaskResolver.start_request",
    "mprun.engine.resolver:TaskResolver.handle_finished",
    "mprun.executors.local:LocalExecutor.start",
    "mprun.executors.local:LocalExecutor.cancel",
    "mprun.executors.local:LocalExecutor.signal",
    "mprun.engine.event_builder:EventBuilder.to_events",
    "mprun.engine.publisher:Publisher.publish",
    "mprun.record.run_state:RunState.apply",
    "mprun.engine.readiness:Prober.start",
    "mprun.engine.readiness:Prober.take_ready",
    "mprun.engine.request_prober:RequestProber.start",
    "mprun.engine.request_prober:RequestProber.handle_probed",
    "mprun.engine.attempt_monitor:AttemptMonitor.handle_exited",
    "mprun.engine.attempt_monitor:AttemptMonitor.handle_stopping",
    "mprun.engine.attempt_monitor:AttemptMonitor.close",
    "mprun.engine.log_limits:LogLimits.exceeded",
    "mprun.engine.control_requests:ControlRequests.handle",
    "mprun.engine.output_checks:OutputChecks.check",
    "mprun.engine.output_checks:OutputChecks.take",
    "mprun.engine.task_table:TaskTable.expand",
    "mprun.engine.engine:Engine._run_finished",
)
JOB_FOR_HANDS = """
    defaults: {stop: {grace: 100ms}}
    tasks:
      - {name: list, command: "echo '[1, 2]'", capture: json}
      - {name: each, command: [echo, '${item}'], foreach: '${tasks.list.result}'}
      - {name: again, command: "exit 1", retry: {retries: 2, delay: 10ms}, allow_failure: true}
      - {name: late, command: "exec sleep 100", timeout: 100ms, allow_failure: true}
      - {name: printed, command: "echo yes", expect: {output: "y.s"}, limits: {log: 1MB}}
      - {name: file, command: "touch up; exec sleep 100", daemon: true, ready: {file: up}}
      - {name: probe, command: "touch up; exec sleep 100", daemon: true, ready: {command: [test, -e, up]}}
      - {name: user, command: "touch there", depends_on: [file, probe, printed, late, again, each]}
      - {name: stubborn, command: "trap '' TERM; while :; do sleep 0.1; done"}
      - {name: never, command: [echo, never], depends_on: [stubborn]}
    """
# Those that are needed to end the run, too, or for each event of its record.
ALWAYS = [
    "Scheduler.begin",
    "Scheduler.stop",
    "TaskResolver.start_request",
    "RunState.apply",
    "OutputChecks.take",
]


@pytest.mark.parametrize(
    ("hand", "last"),
    [(hand, 1) for hand in HANDS] + [(hand, 10**9) for hand in HANDS if hand.partition(":")[2] in ALWAYS],
)
def test_a_defect_in_a_hand_of_the_engine_ends_the_run_without_a_wait_for_what_was_lost_C54(
    tmp_path, hand, last
):
    """The run has no time to end beside the graces of its tasks: if it waits for more, it hangs."""
    write(tmp_path, job=JOB_FOR_HANDS)
    module, _, function = hand.partition(":")
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/support/defective.py", module, function, "1", str(last), "job.yaml"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: (tmp_path / "there").exists() or process.poll() is not None, 30)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    run = finish(process, tmp_path / ".mprun")
    assert ends_in_order(run, tmp_path) == f"LookupError: injected into {function}"


@pytest.mark.parametrize("options", [["-q"], ["--events", "-"], ["--output", "none"]])
def test_a_defect_is_told_whatever_is_shown(tmp_path, options):
    """(C54)"""
    write(tmp_path, job=JOB)
    environment = {"MPRUN_FAILPOINTS": "reporter.handle=raise:5"}
    run = mprun("job.yaml", *options, cwd=tmp_path, env=environment)
    assert ends_in_order(run, tmp_path) == "RuntimeError: injected at reporter.handle"


def test_a_defect_while_the_record_cannot_be_written_ends_the_run(tmp_path):
    """(C54)"""
    write(tmp_path, job=JOB, sitecustomize=LESS_TIME)
    failing = {"MPRUN_FAILPOINTS": "loop.collect=raise:2; record.before=enospc:3+"}
    run = mprun("job.yaml", cwd=tmp_path, env={**failing, "PYTHONPATH": str(tmp_path)})
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

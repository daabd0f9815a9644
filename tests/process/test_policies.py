"""Tasks that fail, hang or do not meet their expectations, with real processes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from support.runs import ROOT, START_METHODS, mprun, write
from support.timing import assert_quick


def recipe(name, tmp_path, *options):
    state_dir = tmp_path / "state"
    arguments = (f"jobs/{name}.yaml", "--state-dir", state_dir, *options)
    return mprun(*arguments, cwd=ROOT, state_dir=state_dir)


@pytest.mark.parametrize("method", START_METHODS)
def test_retry_starts_a_new_process(method, tmp_path):
    run = recipe("retry", tmp_path, "--start-method", method)
    assert run.code == 0, run.stderr
    assert [event["attempt"] for event in run.of("task_started")] == [1, 2, 3]
    assert len({event["pid"] for event in run.of("task_started")}) == 3
    assert [(event["attempt"], event["delay"]) for event in run.of("task_retrying")] == [(2, 0.1), (3, 0.2)]
    assert run.result("connect") == 3
    assert [run.log("connect", attempt).split(b"\n")[0].decode() for attempt in (1, 2, 3)] == [
        "attempt 1",
        "attempt 2",
        "attempt 3",
    ]
    assert run.one("task_finished")["attempts"] == 3


# A new Python may take its time to come to the target.
@pytest.mark.parametrize(("method", "seconds"), [("fork", 1.5), ("forkserver", 3), ("spawn", 5)])
def test_timeout_writes_the_stack_to_the_log(method, seconds, tmp_path):
    text = Path(ROOT, "jobs", "timeout.yaml").read_text()
    assert "timeout: 500ms" in text
    write(tmp_path, job=text.replace("500ms", f"{seconds}s") + f"pythonpath: {ROOT}\n")
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 0, run.stderr
    assert run.outcome("hang") == "timed_out"
    assert b"in sleep_forever" in run.log("hang")
    assert run.one("task_exited", "hang")["signal"] == "SIGTERM"
    assert run.one("task_exited", "hang")["duration"] >= seconds
    assert_quick(run.one("task_exited", "hang")["duration"], seconds + 1.5, time.monotonic)
    assert run.result("clean up") == "hang has finished"


def test_conditions_decide_what_starts(tmp_path):
    run = recipe("conditions", tmp_path)
    assert run.code == 0, run.stderr
    assert run.outcome("never") == "skipped"
    assert run.outcome("server") == "stopped"
    for task in ("after good", "after bad", "after any", "client", "at the end"):
        assert run.outcome(task) == "succeeded", task
    assert run.place("task_started", "client") > run.place("task_started", "server")
    for task in ("after good", "after bad", "after any", "never"):
        assert run.place("task_started", "at the end") > run.place("task_finished", task)


def test_fail_fast_stops_running_tasks_and_cancels_the_rest(tmp_path):
    run = recipe("fail_fast", tmp_path)
    assert run.code == 1
    assert run.one("task_stopping", "hang")["reason"] == "fail_fast"
    assert [run.outcome(task) for task in ("hang", "fail", "later")] == ["stopped", "failed", "cancelled"]
    assert run.one("run_finished")["outcome"] == "failed"


def test_met_expectations_succeed(tmp_path):
    run = recipe("expect", tmp_path)
    assert run.code == 0, run.stderr


def test_unmet_expectation_is_the_reason(tmp_path):
    write(
        tmp_path,
        work="""
        import sys
        def value(): return {"rows": 3}
        def one(): return 1
        def leave(code): sys.exit(code)
        def boom(): raise KeyError("x")
        """,
        job="""
        tasks:
          - {name: result, target: "work:value", expect: {result: {rows: 4}}}
          - {name: bool, target: "work:one", expect: {result: true}}
          - {name: exit, target: "work:leave", args: [5], expect: {exit_code: [3, 4]}}
          - {name: zero, target: "work:leave", args: [0], expect: {exit_code: 3}}
          - {name: raises, target: "work:boom", expect: {raises: ValueError}}
          - {name: base, target: "work:boom", expect: {raises: LookupError}}
          - {name: output, target: "work:one", expect: {output: "rows"}}
          - {name: slow, target: "work:one", expect: {max_seconds: 0}}
          - {name: fat, target: "work:one", expect: {max_rss: 1kB}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    reasons = {event["task"]: event["reason"] for event in run.of("task_finished")}
    assert reasons["result"] == "expected the result {'rows': 4}, but it is {'rows': 3}"
    assert reasons["bool"] == "expected the result True, but it is 1"
    assert reasons["exit"] == "expected exit 3 or 4, but got exit 5"
    assert reasons["zero"] == "expected exit 3, but got exit 0"
    assert reasons["raises"] == "expected ValueError, but KeyError was raised"
    assert run.outcome("base") == "succeeded"
    assert reasons["output"] == "expected output that matches 'rows'"
    assert re.fullmatch(r"expected at most 0s, but it took \d+\.\d+s", reasons["slow"])
    assert re.fullmatch(r"expected at most 1kB of memory, but it used \d+MB", reasons["fat"])


def test_task_that_ignores_the_stop_signal_is_killed_with_its_children(tmp_path):
    write(
        tmp_path,
        work="""
        import os, signal, subprocess, sys, time
        def ignores_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen([sys.executable, "-c", "import signal, time; time.sleep(60)"])
            print(child.pid)
            time.sleep(60)
        """,
        job="""
        tasks:
          - {name: ignores_sigterm, target: "work:ignores_sigterm", timeout: 1s, stop: {grace: 300ms}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert [event["signal"] for event in run.of("task_stopping")] == ["SIGTERM", "SIGKILL"]
    ended = run.one("task_exited")
    assert ended["signal"] == "SIGKILL"
    assert ended["duration"] >= 1.3
    assert_quick(ended["duration"], 2.1, time.monotonic)
    assert run.outcome("ignores_sigterm") == "timed_out"


def test_run_that_exceeds_its_timeout_fails(tmp_path):
    write(tmp_path, work="import time\ndef hang(): time.sleep(60)\n")
    write(
        tmp_path, job="tasks: [{name: a, target: 'work:hang'}, {name: b, target: 'work:hang', depends_on: a}]"
    )
    run = mprun("job.yaml", "--timeout", "1s", cwd=tmp_path)
    assert run.code == 1
    assert (run.outcome("a"), run.outcome("b")) == ("stopped", "cancelled")
    assert "timeout of the run" in run.stderr
    assert run.one("run_finished")["duration"] < 5


def test_options_override_the_job_file(tmp_path):
    write(tmp_path, work="import time\ndef hang(): time.sleep(60)\ndef boom(): 1/0\n")
    write(tmp_path, job="tasks: [{name: a, target: 'work:hang'}, {name: b, target: 'work:boom'}]")
    run = mprun("-x", "job.yaml", cwd=tmp_path)
    assert run.code == 1
    assert run.outcome("a") == "stopped"
    again = mprun("job.yaml", cwd=tmp_path, env={"MPRUN_FAIL_FAST": "1"})
    assert again.outcome("a") == "stopped"


def test_allowed_failure_is_shown_and_does_not_fail_the_run(tmp_path):
    write(tmp_path, work="def boom(): 1/0\n")
    write(tmp_path, job="tasks: [{name: a, target: 'work:boom', allow_failure: true}]")
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert run.one("task_finished")["allowed"] is True
    assert "failed, allowed: exit 1 (ZeroDivisionError: division by zero)" in run.stderr

"""Bugs that were fixed: for each, the smallest job that showed it."""

from __future__ import annotations

import pytest
from support.runs import START_METHODS, alive, eventually, mprun, write


@pytest.mark.parametrize("method", START_METHODS)
def test_missing_directory_is_named(method, tmp_path):
    write(tmp_path, job="tasks: [{name: a, target: 'os:getcwd', cwd: nowhere}]")
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert run.code == 1
    assert run.one("task_exited")["error"]["type"] == "FileNotFoundError"
    assert "nowhere" in run.stderr


def test_exit_during_the_kill_of_its_tree_does_not_end_another_task(tmp_path):
    write(
        tmp_path,
        work="""
        import os, signal, time
        def ignores_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = os.fork()
            if child == 0:
                time.sleep(60)
            os.waitpid(child, 0)
            os._exit(0)
        """,
        job="""
        start_method: forkserver
        defaults: {timeout: 200ms, stop: {grace: 50ms}}
        tasks:
          - {target: "work:ignores_sigterm"}
          - {target: "work:ignores_sigterm"}
          - {target: "work:ignores_sigterm"}
          - {target: "work:ignores_sigterm"}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 1, run.stderr
    assert {event["outcome"] for event in run.of("task_finished")} == {"timed_out"}


@pytest.mark.parametrize("arguments", [["--dry-run"], []])
def test_processes_of_an_import_end_with_a_run_that_does_not_start(arguments, tmp_path):
    write(
        tmp_path,
        work="""
        import subprocess
        child = subprocess.Popen(["sleep", "600"])
        open("pid", "w").write(str(child.pid))
        def call(): pass
        """,
        job="tasks: [{target: 'work:call'}" + ("]" if arguments else ", {target: 'work:missing'}]"),
    )
    run = mprun("job.yaml", *arguments, cwd=tmp_path)
    assert run.code == (0 if arguments else 2), run.stderr
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not alive(pid))


def test_module_that_ignores_sigchld_changes_nothing(tmp_path):
    write(
        tmp_path, work="import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\ndef call(): return 1\n"
    )
    write(tmp_path, job="tasks: [{name: a, target: 'work:call'}]")
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.result("a")) == (0, 1), run.stderr


def test_system_exit_can_be_retried_and_expected(tmp_path):
    write(tmp_path, work="import sys\ndef leave(code): sys.exit(code)\n")
    write(
        tmp_path,
        job="""
        tasks:
          - {name: again, target: "work:leave", args: [3], retry: {retries: 1, exceptions: [SystemExit]}}
          - {name: so, target: "work:leave", args: [3], expect: {raises: SystemExit, exit_code: 3}}
        """,
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.one("task_finished", "again")["attempts"] == 2
    assert run.outcome("so") == "succeeded"


def test_limit_of_years_is_accepted(tmp_path):
    write(tmp_path, work="def call(): pass\n")
    write(tmp_path, job="timeout: 9000d\ntasks: [{target: 'work:call', timeout: 9000d}]")
    run = mprun("job.yaml", "--events", "-", "--import-timeout", "900000000", cwd=tmp_path)
    assert run.code == 0, run.stderr


def test_job_of_one_daemon_starts_and_stops_it(tmp_path):
    write(tmp_path, work="import time\ndef serve(): time.sleep(600)\n")
    write(tmp_path, job="tasks: [{name: d, target: 'work:serve', daemon: true}]")
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.outcome("d")) == (0, "stopped")
    assert not alive(run.one("task_started")["pid"])


def test_tasks_with_dependencies_start_in_the_order_of_the_file(tmp_path):
    write(tmp_path, work="def call(): pass\n")
    write(
        tmp_path,
        job="""
        tasks:
          - {name: a, target: "work:call"}
          - {name: b, target: "work:call", depends_on: a}
          - {name: c, target: "work:call"}
          - {name: d, target: "work:call"}
        """,
    )
    run = mprun("job.yaml", "-j", "1", cwd=tmp_path)
    assert [event["task"] for event in run.of("task_started")] == ["a", "b", "c", "d"]

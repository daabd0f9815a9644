"""mprun resumes its own processes if they are stopped (SIGSTOP), so that no task waits forever."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from support.attempts import Attempts
from support.crash_targets import CrashTarget, write_crash_job
from support.runs import START_METHODS, eventually, mprun, start, write
from support.timing import assert_quick

from mprun.engine.poller import EXECUTOR_WAS_STOPPED
from mprun.executors import local
from mprun.executors.base import ExecutorLost
from mprun.linux import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="states of processes are read from /proc")

every_start_method = pytest.mark.parametrize("method", START_METHODS)

WORK = """\
    import os, signal, time

    def stop_parent():
        os.kill(os.getppid(), signal.SIGSTOP)
        return "done"
"""


def is_stopped(pid):
    return procfs.read_stat(pid).state == "T"


@every_start_method
def test_a_task_that_stops_its_parent_does_not_delay_other_tasks(tmp_path, method):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:stop_parent'}]\n")
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert (run.code, run.result("a")) == (0, "done")
    if method == "forkserver":
        assert run.printed("main") == ["mprun: the fork server was stopped (SIGSTOP); resuming it"]
    else:
        assert run.stderr.count("warning: the main process was stopped (SIGSTOP); resuming it\n") == 1


def test_a_module_that_stops_the_launcher_delays_no_task(tmp_path):
    write(
        tmp_path,
        work=WORK + "    os.kill(os.getpid(), signal.SIGSTOP)\n",
        job="tasks: [{name: a, target: 'os:getpid'}, {name: b, target: 'work:stop_parent'}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert f"warning: {EXECUTOR_WAS_STOPPED}\n" in run.stderr


def test_a_launcher_that_is_stopped_at_the_end_is_resumed(tmp_path):
    with Attempts(tmp_path) as attempts:
        os.kill(attempts.executor.pid, signal.SIGSTOP)
        attempts.executor.close()


def test_a_launcher_that_is_stopped_again_and_again_is_killed(tmp_path):
    with Attempts(tmp_path) as attempts:
        pid = attempts.executor.pid
        for _ in range(local.MAX_RESUMES):
            os.kill(pid, signal.SIGSTOP)
            eventually(lambda: is_stopped(pid))
            assert attempts.executor.wake()
            assert not is_stopped(pid)
        os.kill(pid, signal.SIGSTOP)
        eventually(attempts.executor.wake)
        reports = eventually(attempts.executor.receive)
        assert reports == [ExecutorLost(how="killed by SIGKILL")]


@every_start_method
def test_no_process_outlives_an_engine_that_is_killed_while_the_launcher_is_stopped(tmp_path, method):
    write_crash_job(tmp_path)
    run = CrashTarget(tmp_path, "job.yaml", "--start-method", method, launch=start)
    try:
        run.until("task_started", count=6)
        # In this order, because the engine would resume it.
        run.engine.send_signal(signal.SIGSTOP)
        os.kill(run.launcher(), signal.SIGSTOP)
        run.engine.kill()
        assert_quick(run.seconds_to_vanish(), 1, time.monotonic)
    finally:
        run.clean()

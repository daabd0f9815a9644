"""Whoever of mprun's processes somebody stops, nobody waits for it without end."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support.attempts import Attempts
from support.runs import START_METHODS, eventually, mprun, start, write
from support.victims import Victim, write_victim

from mprun.engine.poller import EXECUTOR_WAS_STOPPED
from mprun.executors import local
from mprun.executors.base import Lost
from mprun.linux import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="states of processes are read from /proc")

every_start_method = pytest.mark.parametrize("method", START_METHODS)

WORK = """\
    import os, signal, time

    def stop_parent():
        os.kill(os.getppid(), signal.SIGSTOP)
        return "done"
"""


def stands_still(pid):
    return procfs.read_stat(pid).state == "T"


@every_start_method
def test_a_task_that_stops_its_parent_holds_up_nobody(tmp_path, method):
    write(tmp_path, work=WORK, job="tasks: [{name: a, target: 'work:stop_parent'}]\n")
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert (run.code, run.result("a")) == (0, "done")
    if method == "forkserver":
        assert run.printed("main") == ["mprun: the fork server was stopped (SIGSTOP); resuming it"]
    else:
        assert run.stderr.count(f"warning: {EXECUTOR_WAS_STOPPED}\n") == 1


def test_a_module_that_stops_the_process_that_imports_it_holds_up_nobody(tmp_path):
    write(
        tmp_path,
        work=WORK + "    os.kill(os.getpid(), signal.SIGSTOP)\n",
        job="tasks: [{name: a, target: 'os:getpid'}, {name: b, target: 'work:stop_parent'}]\n",
    )
    run = mprun("job.yaml", cwd=tmp_path)
    assert run.code == 0
    assert f"warning: {EXECUTOR_WAS_STOPPED}\n" in run.stderr


def test_one_that_was_stopped_at_the_end_is_waited_for_no_longer_than_it_takes(tmp_path):
    with Attempts(tmp_path) as attempts:
        os.kill(attempts.executor.pid, signal.SIGSTOP)
        attempts.executor.close()


def test_one_that_is_stopped_again_and_again_is_lost(tmp_path):
    with Attempts(tmp_path) as attempts:
        pid = attempts.executor.pid
        for _ in range(local.MAX_RESUMES):
            os.kill(pid, signal.SIGSTOP)
            eventually(lambda: stands_still(pid))
            assert attempts.executor.wake()
            assert not stands_still(pid)
        os.kill(pid, signal.SIGSTOP)
        eventually(attempts.executor.wake)
        reports = eventually(attempts.executor.receive)
        assert reports == [Lost(how="killed by SIGKILL")]


@every_start_method
def test_nobody_outlives_an_engine_that_was_killed_while_the_launcher_stood_still(tmp_path, method):
    write_victim(tmp_path)
    run = Victim(tmp_path, "job.yaml", "--start-method", method, launch=start)
    try:
        run.until("task_started", count=6)
        # In this order: the engine would see to it that it goes on.
        run.engine.send_signal(signal.SIGSTOP)
        os.kill(run.launcher(), signal.SIGSTOP)
        run.engine.kill()
        assert run.seconds_to_vanish() < 1
    finally:
        run.clean()

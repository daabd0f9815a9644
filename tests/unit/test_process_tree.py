"""Snapshots of running processes: which are recognised, and what they contain, with and without /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.events import STAMP, started
from support.records import STARTED
from support.runs import eventually

from mprun.linux import procfs
from mprun.record import events
from mprun.record.event_reader import from_record
from mprun.record.process_snapshot import snapshot, snapshot_tasks
from mprun.record.process_tree import build_tree
from mprun.record.recorder import Recorder
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def without_proc(monkeypatch):
    """As on macOS: no /proc for mprun, and no start of a process in clock ticks."""
    monkeypatch.setattr(sys, "platform", "darwin")
    for name in ("read_stat", "start_ticks", "read_max_rss"):
        monkeypatch.setattr(procfs, name, lambda pid: None)
    monkeypatch.setattr(procfs, "processes", dict)


def test_a_running_process_is_seen(sleeper):
    found = snapshot(sleeper.pid, procfs.start_ticks(sleeper.pid), os.getpid())
    assert found is not None
    assert (found.status, found.threads) == ("running", 1)
    assert found.cpu < 5
    assert 0 <= found.duration < 60
    # It grows until the process sleeps.
    eventually(lambda: snapshot(sleeper.pid).max_rss == procfs.read_max_rss(sleeper.pid))


def test_a_child_of_one_that_ends_while_all_are_read_is_seen(monkeypatch):
    """Process 7 begins 8, ends, and 8 begins 9."""
    stat = procfs.read_stat(os.getpid())
    lists = [["1", "7", "self"], ["1", "8"], ["1", "8", "9"], ["1", "8", "9"]]
    monkeypatch.setattr(os, "listdir", lambda _: lists.pop(0))
    monkeypatch.setattr(procfs, "read_stat", lambda pid: None if pid == 7 else stat)
    assert procfs.processes().keys() == {1, 8, 9}
    assert not lists


def test_a_machine_that_starts_processes_without_end_is_looked_at_all_the_same(monkeypatch):
    stat = procfs.read_stat(os.getpid())
    pids = iter(range(1, 1_000_000))
    monkeypatch.setattr(os, "listdir", lambda _: [str(next(pids))])
    monkeypatch.setattr(procfs, "read_stat", lambda _: stat)
    assert len(procfs.processes()) < 100


def test_a_stopped_process_is_suspended(sleeper):
    sleeper.send_signal(signal.SIGSTOP)
    eventually(lambda: snapshot(sleeper.pid).suspended)
    assert snapshot(sleeper.pid).status == "running, suspended (SIGSTOP)"


def test_a_process_with_another_start_or_parent_is_not_the_one(sleeper):
    ticks = procfs.start_ticks(sleeper.pid)
    assert snapshot(sleeper.pid, ticks + 1) is None
    assert snapshot(sleeper.pid, ticks - 1) is None
    assert snapshot(sleeper.pid, ppid=1) is None


def test_a_process_that_gets_the_pid_while_it_is_read_is_not_the_one(sleeper, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil.Process, "is_running", lambda self: False)
    assert snapshot(sleeper.pid) is None


def test_a_process_that_has_ended_is_not_seen(sleeper):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    # A zombie, and then nothing.
    assert snapshot(sleeper.pid) is None
    sleeper.wait()
    assert snapshot(sleeper.pid) is None


def state_of(pid, start_ticks):
    """An active run of this process, with the task `a` that has this process."""
    state = RunState()
    facts = {**STARTED, "pid": os.getppid(), "main_pid": os.getpid()}
    state.apply(from_record(facts))
    state.apply(started("a").replace(pid=pid, ppid=os.getpid(), start_ticks=start_ticks))
    return state


def test_a_task_whose_start_is_unknown_is_not_seen_on_linux(sleeper):
    assert snapshot_tasks(state_of(sleeper.pid, None)) == {}
    assert snapshot_tasks(state_of(sleeper.pid, procfs.start_ticks(sleeper.pid))).keys() == {"a"}


@pytest.mark.usefixtures("without_proc")
def test_the_tasks_of_an_active_run_are_seen_without_proc_by_their_parent(sleeper):
    seen = snapshot_tasks(state_of(sleeper.pid, None))
    assert seen["a"].threads == 1
    assert seen["a"].max_rss > 0
    assert 0 <= seen["a"].duration < 60
    stranger = state_of(1, None)
    assert snapshot_tasks(stranger) == {}


@pytest.mark.usefixtures("without_proc")
def test_the_tree_of_an_active_run_has_its_descendants_without_proc(tmp_path):
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    process = subprocess.Popen([sys.executable, "-c", script])
    directory = RunDirectory(str(tmp_path))
    recorder = Recorder(directory)
    try:
        state = state_of(process.pid, None)

        def task():
            (engine,) = build_tree(directory, state)
            # The parent of these tests may have other children.
            (launcher,) = [child for child in engine.children if child.pid == os.getpid()]
            assert (engine.running, launcher.running) == (True, True)
            return next(child for child in launcher.children if child.name == "a")

        child = eventually(lambda: task().children)[0]
        assert (child.role, child.name, child.running) == ("descendant", "sleep", True)
        assert child.ppid == process.pid
        os.kill(child.pid, signal.SIGKILL)
    finally:
        recorder.close()
        process.kill()
        process.wait()


def test_psutil_is_imported_only_where_it_is_used():
    code = "import sys, mprun.cli.show, mprun.record.recovery; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_run_that_has_finished_needs_no_process(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    state = state_of(os.getpid(), 1)
    counts = {"outcome": "succeeded", "exit_code": 0, "duration": 1.0, "counts": {}}
    state.apply(events.RunFinished(**STAMP, **counts))
    (engine,) = build_tree(RunDirectory(str(tmp_path)), state)
    assert engine.status == "exit 0"


def test_the_threads_of_a_process_are_counted(sleeper):
    assert procfs.count_threads(sleeper.pid) == 1
    with ThreadPoolExecutor(3) as threads:
        ready = threading.Barrier(4)
        for _ in range(3):
            threads.submit(ready.wait)
        assert procfs.count_threads(os.getpid()) == procfs.read_stat(os.getpid()).threads >= 4
        ready.wait()


def test_a_process_that_is_gone_has_no_threads():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert procfs.count_threads(gone.pid) == 0

"""The process that compares: it is started, killed and reaped by one thread."""

import os
import select
import signal
import threading

import pytest

from mprun.engine import unchanged_worker
from mprun.engine.unchanged_worker import UnchangedWorker

pytestmark = pytest.mark.once


@pytest.fixture
def kills(monkeypatch):
    """The processes that are signalled, and the threads that do it; none but a child of this process is."""
    seen = []
    kill = os.kill

    def note(pid, number):
        seen.append((pid, threading.current_thread() is threading.main_thread()))
        assert pid > 1
        kill(pid, number)

    monkeypatch.setattr(os, "kill", note)
    return seen


@pytest.fixture
def started(monkeypatch):
    """The pids of the processes that compare; `silent` ones start no Python and give no answer."""
    pids = []
    others = []

    def start(is_silent=False, before=lambda: None):
        real = unchanged_worker._start_process

        def silent():
            ours, theirs = unchanged_worker.socketpair()
            pid = os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
            # No end of file when it ends, as with a process that waits for a file system.
            others.append(theirs)
            return ours, pid

        def noted():
            before()
            ours, pid = (silent if is_silent else real)()
            pids.append(pid)
            return ours, pid

        monkeypatch.setattr(unchanged_worker, "_start_process", noted)
        return pids

    yield start
    for other in others:
        other.close()


def answer(worker):
    assert select.select([worker], [], [], 60)[0]
    return worker.take()


def is_gone(pid):
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return True


def test_a_process_that_answers_is_killed_by_the_thread_that_reaps_it(kills, started):
    """`close` once killed it by a pid that this thread may have set to 0 meanwhile: mprun's own group."""
    pids = started()
    worker = UnchangedWorker(lambda: None)
    worker.ask("first", lambda: None)
    # No run is named, so nothing can be compared, and the process ends at once.
    [(key, found, problem)] = answer(worker)
    assert (key, found) == ("first", None)
    assert problem
    worker.close()
    assert {pid for pid, _ in kills} <= set(pids)
    assert not any(is_main for _, is_main in kills)
    assert is_gone(pids[0])


def test_a_process_that_gives_no_answer_is_killed_at_the_end(kills, started):
    pids = started(is_silent=True)
    worker = UnchangedWorker(lambda: None)
    worker.ask("first", lambda: None)
    while not pids:
        threading.Event().wait(0.01)
    worker.close()
    assert kills == [(pids[0], False)]
    assert is_gone(pids[0])


def test_a_process_that_starts_when_the_run_has_ended_is_killed(kills, started):
    may_start, closing = threading.Event(), threading.Event()
    pids = started(is_silent=True, before=lambda: may_start.wait(60))
    worker = UnchangedWorker(lambda: None)
    worker.ask("first", lambda: None)

    def close():
        closing.set()
        worker.close()

    closer = threading.Thread(target=close)
    closer.start()
    closing.wait(60)
    may_start.set()
    closer.join(60)
    assert not closer.is_alive()
    assert kills == [(pids[0], False)]
    assert is_gone(pids[0])


def test_a_process_that_another_part_of_the_program_has_reaped_is_not_signalled(kills, started):
    # The kernel reaps it, as soon as it has ended.
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        pids = started(is_silent=True)
        worker = UnchangedWorker(lambda: None)
        worker.ask("first", lambda: None)
        while not pids:
            threading.Event().wait(0.01)
        pidfd = os.pidfd_open(pids[0])
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        with pytest.raises(ChildProcessError):
            os.waitpid(pids[0], 0)
        worker.close()
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert kills == []

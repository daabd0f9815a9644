"""Without pidfds a process is known by its start, and a child by not being reaped."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys

import pytest

from mprun.launcher import fork
from mprun.linux import pidfd_signals, pidfd_stand_ins, procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
def child():
    """A child that runs until it is signalled."""
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def zombie():
    """A child that has ended and is not reaped."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process
    process.wait()


def test_a_signal_goes_only_to_the_process_with_this_start(child):
    start = procfs.start_ticks(child)
    with pytest.raises(ProcessLookupError):
        pidfd_stand_ins.send(child, start + 1, signal.SIGKILL)
    pidfd_stand_ins.send(child, start, 0)
    assert procfs.read_stat(child).is_alive


def test_a_child_without_a_known_start_is_signalled_until_it_is_reaped(zombie):
    pidfd_stand_ins.send(zombie.pid, None, 0)
    zombie.wait()
    with pytest.raises(ProcessLookupError):
        pidfd_stand_ins.send(zombie.pid, None, 0)


def test_a_process_that_has_ended_is_signalled_until_it_is_reaped(zombie):
    """So that the rest of the group that it leads can be."""
    pidfd = os.pidfd_open(zombie.pid)
    try:
        pidfd_stand_ins.send_if_unreaped(zombie.pid, pidfd, 0)
        zombie.wait()
        with pytest.raises(ProcessLookupError):
            pidfd_stand_ins.send_if_unreaped(zombie.pid, pidfd, 0)
    finally:
        os.close(pidfd)


def test_the_end_of_a_process_with_another_start_is_not_waited_for(child):
    start = procfs.start_ticks(child)
    assert pidfd_stand_ins.await_end(child, start + 1, 600)
    assert not pidfd_stand_ins.await_end(child, start, 0.01)


@pytest.mark.parametrize("is_reaped", [False, True])
def test_a_stand_in_is_readable_once_its_child_has_ended_even_if_it_is_reaped_elsewhere(child, is_reaped):
    """A handler of SIGCHLD of a module may reap every child."""
    descriptor, start = pidfd_stand_ins.open_stand_in(child)
    epoll = pidfd_stand_ins.LookingEpoll({descriptor: (child, start)})
    try:
        epoll.register(descriptor, select.EPOLLIN)
        assert epoll.poll(0) == []
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
        assert epoll.poll(600) == [(descriptor, select.EPOLLIN)]
    finally:
        os.close(descriptor)


@pytest.fixture
def handle(child, monkeypatch):
    """The launcher's of a child, where the system refuses pidfds."""

    def refuse(_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for module in (fork, pidfd_signals):
        monkeypatch.setattr(module, "pidfd_open", refuse)
    monkeypatch.setattr(pidfd_signals, "refused", set())
    monkeypatch.setattr(fork, "launcher_pidfd", [])
    monkeypatch.setattr(fork, "private_descriptors", set())
    monkeypatch.setattr(fork, "_close_pidfd", fork._close_pidfd)
    fork.open_launcher_pidfd()
    handle = fork.ProcessHandle()
    handle.pid = child
    handle.open_pidfd()
    yield handle
    handle.close()
    for descriptor in {*fork.launcher_pidfd, *fork.private_descriptors}:
        os.close(descriptor)


def test_a_process_that_is_not_waited_for_any_more_can_be_signalled(handle):
    """As one that drains a pipe: without that, a flood was the end of the launcher."""
    epoll = pidfd_stand_ins.LookingEpoll(pidfd_signals.stand_ins)
    epoll.register(handle.pidfd, select.EPOLLIN)
    epoll.unregister(handle.pidfd)
    pidfd_signals.send(handle.pid, handle.pidfd, signal.SIGKILL)
    assert handle.poll(0) == -signal.SIGKILL


def test_what_gets_the_number_of_a_stand_in_that_was_closed_is_none(handle):
    """It was made readable as one, by a write to it: to a pipe of a task that is an error."""
    epoll = pidfd_stand_ins.LookingEpoll(pidfd_signals.stand_ins)
    number = handle.pidfd
    os.kill(handle.pid, signal.SIGKILL)
    handle.poll(0)
    handle.close()
    reader, writer = os.pipe()
    os.dup2(reader, number)
    try:
        epoll.register(number, select.EPOLLIN)
        assert epoll.poll(0.01) == []
    finally:
        for descriptor in {reader, writer, number}:
            os.close(descriptor)

"""Signals reach the right process, and never another one that has got its pid since."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import types

import pytest
from support.runs import alive, eventually

from mprun.launcher import reaper, task_trees
from mprun.linux import pidfd_signals, procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfds are Linux's")
WAYS = pytest.mark.parametrize("send", [pidfd_signals.signal_group, pidfd_signals.signal_members])


@pytest.fixture
def family():
    """A process that leads a group, and a member of it."""
    # The leader does not end by itself if the member gets the signal first.
    command = ["sh", "-c", "sleep 60 & echo $!; exec sleep 60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    member = int(process.stdout.readline())
    pidfd = os.pidfd_open(member)
    yield process, member
    # It may have ended, and its pid may be that of another process.
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    process.kill()
    process.wait()
    process.stdout.close()


def reaped():
    """A pidfd of a process that has been reaped."""
    process = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(process.pid)
    process.wait()
    return pidfd


def test_a_process_is_killed_by_its_pid_and_start_time(family):
    process, _ = family
    assert pidfd_signals.kill(process.pid, procfs.read_stat(process.pid).start_ticks)
    assert process.wait() == -signal.SIGKILL


def test_a_process_with_the_same_pid_and_another_start_time_is_not_killed(family):
    process, _ = family
    assert not pidfd_signals.kill(process.pid, procfs.read_stat(process.pid).start_ticks - 1)
    assert process.poll() is None


def test_a_process_that_is_gone_is_not_killed():
    process = subprocess.Popen(["true"])
    ticks = procfs.read_stat(process.pid).start_ticks
    process.wait()
    assert not pidfd_signals.kill(process.pid, ticks)


@WAYS
def test_a_signal_reaches_the_whole_group(family, send):
    process, member = family
    pidfd = os.pidfd_open(process.pid)
    try:
        send(process.pid, pidfd, signal.SIGTERM)
    except OSError as error:
        pytest.skip(str(error))
    finally:
        os.close(pidfd)
    assert process.wait() == -signal.SIGTERM
    eventually(lambda: not alive(member))


@WAYS
def test_no_signal_reaches_a_group_that_has_the_pid_of_a_reaped_process(family, send):
    process, member = family
    pidfd = reaped()
    try:
        with pytest.raises(ProcessLookupError):
            send(process.pid, pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)
    assert (process.poll(), alive(member)) == (None, True)


@WAYS
def test_a_signal_reaches_a_process_that_leads_no_group_yet(send):
    process = subprocess.Popen(["sleep", "60"])
    pidfd = os.pidfd_open(process.pid)
    try:
        send(process.pid, pidfd, signal.SIGTERM)
    finally:
        os.close(pidfd)
    assert process.wait() == -signal.SIGTERM


def refuse(*_):
    raise PermissionError


def test_signalling_a_process_that_has_changed_its_user_raises_nothing(monkeypatch, family):
    """As with `sudo`. Root may signal every process, so here the system calls are made to fail."""
    process, _ = family
    handle = types.SimpleNamespace(pid=process.pid, pidfd=os.pidfd_open(process.pid), reaped_here=True)
    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(reaper, "killpg", refuse)
    send = pidfd_signals.pidfd_send_signal
    # A process may always signal itself: otherwise the system would refuse the call altogether.
    monkeypatch.setattr(
        pidfd_signals,
        "pidfd_send_signal",
        lambda fd, *more: (refuse if fd == handle.pidfd else send)(fd, *more),
    )
    task_trees.ask_to_end(handle, signal.SIGTERM, wake=True)
    task_trees.kill({handle.pid: handle.pidfd})
    reaper.kill_group(handle.pid)
    os.close(handle.pidfd)
    # A signal that was sent all the same takes a moment.
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)

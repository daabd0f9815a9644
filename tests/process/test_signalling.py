"""Signals reach the process that is meant, and nobody who has its number by now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types

import pytest
from support.runs import alive, eventually

from mprun.launcher import reaper
from mprun.linux import pidfd_signals, procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfds are Linux's")
WAYS = pytest.mark.parametrize("send", [pidfd_signals.signal_group, pidfd_signals.signal_members])


@pytest.fixture
def family():
    """A process that leads a group, and a member of it."""
    # The leader does not end by itself when the member is the first to hear.
    command = ["sh", "-c", "sleep 60 & echo $!; exec sleep 60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    member = int(process.stdout.readline())
    yield process, member
    if alive(member):
        os.kill(member, signal.SIGKILL)
    process.kill()
    process.wait()
    process.stdout.close()


def reaped():
    """A pidfd of a process that is no more."""
    process = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(process.pid)
    process.wait()
    return pidfd


def test_a_process_is_killed_by_its_number_and_start(family):
    process, _ = family
    assert pidfd_signals.kill(process.pid, procfs.read_stat(process.pid).start_ticks)
    assert process.wait() == -signal.SIGKILL


def test_who_has_the_number_of_another_is_not_killed(family):
    process, _ = family
    assert not pidfd_signals.kill(process.pid, procfs.read_stat(process.pid).start_ticks - 1)
    assert process.poll() is None


def test_who_is_gone_is_not_killed():
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
def test_no_signal_reaches_a_group_that_has_the_number_of_a_process_that_was_reaped(family, send):
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


def test_what_is_another_users_by_now_ends_nobody_who_tries_to_signal_it(monkeypatch, family):
    """As with `sudo`: root itself is refused nothing, so here the system call refuses."""
    process, _ = family
    held = types.SimpleNamespace(pid=process.pid, pidfd=os.pidfd_open(process.pid), reaped_here=True)
    monkeypatch.setattr(os, "killpg", refuse)
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    reaper.ask_to_end(held, signal.SIGTERM, wake=True)
    reaper.kill([held.pidfd])
    reaper.kill_group(held.pid)
    os.close(held.pidfd)
    assert process.poll() is None

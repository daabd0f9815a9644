"""The executor of this machine: what it sends to the launcher."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("orphans are found in /proc", allow_module_level=True)

from mprun.executors import orphan_kills
from mprun.executors.base import ProbeRequest
from mprun.executors.local import LocalExecutor
from mprun.executors.orphan_kills import kill_children
from mprun.executors.subreaper import Subreaper
from mprun.linux import prctl, procfs


class Sent:
    """A channel that only keeps what is sent."""

    def __init__(self):
        self.kinds = []

    def close(self):
        pass

    def send(self, kind, *details):
        self.kinds.append((kind, details[0] if details else None))


def probe(key):
    return ProbeRequest(key=key, number=1, task="a", what=("true",), env={}, cwd="/", output="out")


def test_a_probe_of_an_attempt_whose_start_is_reported_late_waits_until_the_run_is_resumed():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        executor = LocalExecutor(0, ours, Subreaper(0, "run"))
        sent = executor._channel = Sent()
        executor.probe(probe((0, 1)))
        executor.suspend()
        executor.probe(probe((1, 1)))
        executor.probe(probe((2, 1)))
        executor.end_probe((1, 1))
        executor.resume()
        executor.probe(probe((3, 1)))
        executor.close()
    assert sent.kinds == [
        ("probe", (0, 1)),
        ("suspend", None),
        ("end_probe", (1, 1)),
        ("resume", None),
        ("probe", (2, 1)),
        ("probe", (3, 1)),
    ]


@pytest.fixture
def child():
    """A child of this process, in a group of its own, that runs until it is killed."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


@pytest.fixture
def subreaper(monkeypatch):
    """That of a command line, in a process that stays what it is."""
    monkeypatch.setattr(procfs, "children", list)
    # A busy machine may take longer between two looks.
    monkeypatch.setattr(orphan_kills, "CHILDREN_SECONDS", 600)
    monkeypatch.setattr(prctl, "set_child_subreaper", lambda _: None)
    return Subreaper(0)


def see(monkeypatch, pid, change):
    """Have one child seen once; `change` gets what is seen of it, before that is used."""
    seen = iter([[pid], []])
    read = procfs.read_stat
    monkeypatch.setattr(procfs, "children", lambda: next(seen))
    # It would look first.
    monkeypatch.setattr(procfs, "is_resource_tracker", lambda _: False)

    def read_and_change(pid):
        stat = read(pid)
        monkeypatch.setattr(procfs, "read_stat", read)
        change(stat)
        return stat

    monkeypatch.setattr(procfs, "read_stat", read_and_change)
    return seen


def test_a_child_that_a_thread_of_the_engine_reaps_meanwhile_is_not_a_defect(monkeypatch, subreaper):
    """As the thread that waits for the process that matches patterns (C53)."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    seen = see(monkeypatch, ended.pid, lambda _: ended.wait())
    kill_children(subreaper)
    assert list(seen) == []


def test_what_has_got_the_pid_of_such_a_child_is_not_killed(monkeypatch, subreaper, child):
    def be_older(stat):
        stat.start_ticks -= 1

    seen = see(monkeypatch, child.pid, be_older)
    kill_children(subreaper)
    assert (list(seen), child.poll()) == ([], None)


def test_what_has_got_the_pid_of_a_keeper_that_was_reaped_is_left_running(monkeypatch, child):
    """The launcher reaps it at its end."""
    monkeypatch.setattr(orphan_kills, "KEEPER_SECONDS", 0.01)
    orphan_kills._await_keeper(child.pid, procfs.start_ticks(child.pid) - 1)
    assert child.poll() is None


def test_a_launcher_that_is_reaped_as_soon_as_it_is_killed_is_not_signalled_again(monkeypatch, child):
    """As by a thread of the program that embeds mprun."""
    signalled = []

    def kill_and_reap(pid, number):
        signalled.append(pid)
        kill_group(pid, number)
        child.wait()

    kill_group, kill = os.killpg, os.kill
    monkeypatch.setattr(os, "killpg", kill_and_reap)
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid) or kill(pid, number))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        executor = LocalExecutor(child.pid, ours, Subreaper(child.pid, "run"))
        executor.close(kill=True)
    assert (signalled, executor.pid) == ([child.pid], 0)

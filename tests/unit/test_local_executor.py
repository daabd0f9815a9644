"""The executor of this machine: what it sends to the launcher."""

from __future__ import annotations

import socket
import subprocess

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


def test_a_child_that_a_thread_of_the_engine_reaps_meanwhile_is_not_a_defect(monkeypatch):
    """As the thread that waits for the process that matches patterns (C53)."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    seen = iter([[], [gone.pid], []])
    monkeypatch.setattr(procfs, "children", lambda: next(seen))
    monkeypatch.setattr(prctl, "set_child_subreaper", lambda _: None)
    kill_children(Subreaper(0))
    assert list(seen) == []

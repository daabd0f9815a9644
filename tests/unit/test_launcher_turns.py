"""How long the launcher waits in a turn, and how often it looks at the threads of its tasks."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace

import pytest

from mprun.launcher import launcher


@pytest.fixture
def serving():
    engine, other = socket.socketpair()
    with engine, other:
        serving = launcher.Launcher(other)
        # Those of the tests.
        serving._reaper.ignore_present_children()
        yield serving


def samples(serving, count, seconds):
    """How many looks at a task `count` tasks get in so many seconds of virtual time."""
    seen = []
    handle = SimpleNamespace(pid=0)
    serving._attempts = {
        n: SimpleNamespace(sample=lambda: seen.append(1), handle=handle) for n in range(count)
    }
    now = 0.0
    while now < seconds:
        serving._sample(now)
        assert serving._next_sample > now
        now = serving._next_sample
    return len(seen)


def test_few_tasks_are_looked_at_four_times_a_second(serving):
    assert 38 <= samples(serving, 1, 10) <= 41


def test_the_looks_at_many_tasks_are_limited(serving):
    """C86. Each look reads a file of /proc, in about 20 us: no more than 400 of them in a second."""
    assert samples(serving, 100, 60) <= 60 * 400 + 100
    assert samples(serving, 10_000, 600) <= 600 * 400 + 10_000


def test_a_retry_that_becomes_due_during_a_turn_is_not_slept_through(serving, monkeypatch):
    """The turn's look at the time is too early for the retry, and the next one finds no time left to wait."""
    assert serving._backoff.should_retry("a", errno.EMFILE, 0.0)
    monkeypatch.setattr(launcher, "monotonic", lambda: 0.009)
    assert serving._must_wait()
    monkeypatch.setattr(launcher, "monotonic", lambda: 0.011)
    assert serving._timeout() == launcher.SAMPLE_INTERVAL
    serving._backoff.reset()
    assert serving._timeout() is None

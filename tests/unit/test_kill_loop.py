"""Processes are killed until none is found, or until the time is up."""

import pytest

from mprun.linux import kill_loop


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when the loop sleeps."""

    class Clock:
        now = 100.0

        def sleep(self, seconds):
            self.now += seconds

    made = Clock()
    monkeypatch.setattr(kill_loop, "monotonic", lambda: made.now)
    monkeypatch.setattr(kill_loop, "sleep", made.sleep)
    return made


def test_processes_that_appear_during_a_kill_are_killed_too(clock):
    found, killed = [[1, 2], [3], []], []
    left = kill_loop.kill_until_none_left(lambda: found.pop(0), killed.extend, timeout=1.0, interval=0.25)
    assert (killed, left, found) == ([1, 2, 3], [], [])
    assert clock.now == 100.5


def test_it_gives_up_after_the_timeout_and_returns_what_is_left(clock):
    rounds = []
    left = kill_loop.kill_until_none_left(lambda: [7], rounds.append, timeout=1.0, interval=0.25)
    assert (left, len(rounds)) == ([7], 6)


def test_it_kills_at_least_once_even_if_the_search_takes_too_long(clock):
    def find():
        clock.now += 10
        return {8} if not killed else set()

    killed = []
    left = kill_loop.kill_until_none_left(find, killed.append, timeout=1.0)
    assert (left, killed) == ({8}, [{8}])


def test_nothing_is_killed_if_nothing_is_found(clock):
    def kill(found):
        raise AssertionError(found)

    assert kill_loop.kill_until_none_left(set, kill, timeout=1.0) == set()

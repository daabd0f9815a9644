"""When an attempt gets the signal that was asked for, and what is waited for before and after it."""

from __future__ import annotations

import signal
import sys
from select import EPOLLONESHOT
from types import SimpleNamespace

import pytest

from mprun.launcher import attempt_signals, group_grace, requested_stacks, stack_dump, task_trees, tree_stops
from mprun.launcher.attempt_signals import AttemptSignals

KEY = ("it", 1)


class Dumps:
    """In place of `StackDumps`: a dump is complete once a test says so."""

    def __init__(self):
        self.pending, self.ended = [], []
        self.is_possible, self.is_complete = True, False

    def request(self, request, title, log, pid, pidfd):
        if self.is_possible:
            self.pending.append(SimpleNamespace(request=request, title=title))
        return self.is_possible

    def take_finished(self):
        finished = self.pending[:] if self.is_complete else []
        self.pending = [] if self.is_complete else self.pending
        return finished

    def end(self, key):
        self.pending = []
        self.ended.append(key)


class Ends:
    """In place of `OpenEnds`: a group ends once a test says so."""

    def __init__(self):
        self.attempts, self.next_look, self.is_over = set(), 0.0, False

    def hold(self, attempt):
        if not self.is_over:
            self.attempts.add(attempt)
        return not self.is_over

    def pause(self, now):
        return 0.25

    def take_ended(self, now):
        ended = list(self.attempts) if self.is_over else []
        self.attempts -= {*ended}
        return ended

    def take(self, attempt):
        self.attempts.remove(attempt)


class Attempt:
    """A running attempt, of a target unless it has a program."""

    def __init__(self, program=None, pidfd=7):
        self.handle = SimpleNamespace(pid=100, pidfd=pidfd, exit_fd=8)
        self.key, self.program, self.log = KEY, program, "log"
        self.asked = self.group_asked = False


@pytest.fixture
def here(monkeypatch):
    """The signals of a launcher with one attempt, and what they did, in `seen`."""
    seen, dumps, ends, attempt = [], Dumps(), Ends(), Attempt()

    def ask(handle, number, *, alone, wake):
        seen.append((signal.Signals(number).name, "process" if alone else "group", wake))

    monkeypatch.setattr(task_trees, "ask_to_end", ask)
    monkeypatch.setattr(task_trees, "kill_trees", lambda leaders: seen.append(("kill", leaders)))
    monkeypatch.setattr(task_trees, "cannot_end", lambda pid, pidfd: False)
    monkeypatch.setattr(task_trees, "signal_trees", lambda leaders, number, adopted: seen.append(number))
    monkeypatch.setattr(tree_stops, "stop_trees", lambda leaders, adopted: seen.append("stopped"))
    monkeypatch.setattr(stack_dump, "StackDumps", lambda: dumps)
    monkeypatch.setattr(group_grace, "OpenEnds", lambda: ends)
    signals = AttemptSignals(
        SimpleNamespace(modify=lambda descriptor, events: seen.append((descriptor, events))),
        {KEY: attempt},
        lambda: {100: 7},
        list,
        lambda one: seen.append(("over", one)),
        lambda one: seen.append(("given up", one)),
    )
    return SimpleNamespace(signals=signals, seen=seen, dumps=dumps, ends=ends, attempt=attempt)


@pytest.mark.parametrize("to", ["group", "process"])
def test_a_signal_without_a_title_is_sent_at_once(here, to):
    here.signals.send(KEY, "SIGTERM", "", to)
    assert here.seen == [("SIGTERM", to, True)]
    assert here.attempt.asked
    assert here.attempt.group_asked == (to == "group")
    assert not here.signals.is_waiting


def test_an_attempt_that_has_ended_gets_no_signal(here):
    here.signals.send(("it", 2), "SIGTERM", "", "group")
    here.attempt.handle.pidfd = -1
    here.signals.send(KEY, "SIGTERM", "", "group")
    assert here.seen == []
    assert not here.attempt.asked


def test_a_signal_with_a_title_is_sent_once_the_stacks_are_there(here):
    here.signals.send(KEY, "SIGTERM", "it timed out", "process")
    assert here.signals.is_waiting
    assert here.signals.pause() == attempt_signals.SETTLE_SECONDS
    assert here.signals.advance() == []
    assert here.seen == []
    here.dumps.is_complete = True
    here.signals.advance()
    assert here.seen == [("SIGTERM", "process", True)]
    assert not here.signals.is_waiting
    assert here.signals.pause() is None


def test_an_attempt_that_ends_meanwhile_has_its_stacks_in_its_log(here):
    here.signals.send(KEY, "SIGTERM", "it timed out", "group")
    here.signals.end(KEY)
    assert here.dumps.ended == [KEY]
    here.signals.end(KEY)
    assert here.dumps.ended == [KEY]


@pytest.mark.parametrize("why", ["a program", "suspended", "it cannot", "no module", "no other module"])
def test_a_signal_does_not_wait_for_stacks_that_cannot_be_had(here, why, monkeypatch):
    if why == "a program":
        here.attempt.program = "sleep"
    here.signals.suspended = why == "suspended"
    here.dumps.is_possible = why != "it cannot"
    # As if there were no free descriptor to read the module.
    if why == "no module":
        monkeypatch.setitem(sys.modules, stack_dump.__name__, None)
    elif why == "no other module":
        monkeypatch.delitem(sys.modules, stack_dump.__name__)
        monkeypatch.setitem(sys.modules, requested_stacks.__name__, None)
    here.signals.send(KEY, "SIGTERM", "it timed out", "group")
    assert here.seen == [("SIGTERM", "group", why != "suspended")]
    assert not here.signals.is_waiting


def test_the_end_of_a_process_is_kept_open_until_that_of_its_group(here):
    assert here.signals.keep_end_open(here.attempt)
    assert here.seen == [(8, EPOLLONESHOT)]
    assert here.signals.is_waiting
    assert here.signals.pause() == 0.25
    assert here.signals.advance() == []
    assert here.signals.keep_end_open(here.attempt)
    here.ends.is_over = True
    assert here.signals.advance() == [here.attempt]
    here.ends.next_look = float("inf")
    assert here.signals.advance() == []
    assert not here.signals.is_waiting


def test_an_end_of_which_nothing_is_left_is_not_kept_open(here):
    here.ends.is_over = True
    assert not here.signals.keep_end_open(here.attempt)
    assert not here.signals.is_waiting


def test_a_kill_ends_what_is_kept_open_at_once(here):
    here.signals.keep_end_open(here.attempt)
    here.seen.clear()
    here.signals.send(KEY, "SIGKILL", "", "group")
    assert here.seen == [("kill", {100: 7}), ("over", here.attempt)]
    assert here.ends.attempts == set()


@pytest.mark.parametrize("cannot_end", [False, True])
def test_an_attempt_that_cannot_be_killed_is_given_up(here, cannot_end, monkeypatch):
    monkeypatch.setattr(task_trees, "cannot_end", lambda pid, pidfd: cannot_end)
    here.signals.send(KEY, "SIGKILL", "", "group")
    assert here.seen[1:] == ([("given up", here.attempt)] if cannot_end else [])


def test_a_suspended_run_is_stopped_and_its_tasks_are_not_woken_by_a_signal(here):
    here.signals.suspend()
    here.signals.send(KEY, "SIGTERM", "", "group")
    here.signals.resume()
    here.signals.send(KEY, "SIGTERM", "", "group")
    assert here.seen == ["stopped", ("SIGTERM", "group", False), signal.SIGCONT, ("SIGTERM", "group", True)]

"""Which signals ask a run to end, and which kill it."""

from __future__ import annotations

import os
import signal
import time
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from mprun.engine.signals import SignalInbox, StopSignals


def killed_by(*signals):
    """Whether each of these signals, given with its time in seconds, kills the run."""
    stop = StopSignals()
    return [stop.receive(number, at) for number, at in signals]


@pytest.mark.parametrize("first", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("second", [SIGINT, SIGTERM, SIGHUP])
def test_two_signals_at_once_are_one_unless_both_are_ctrl_c(first, second):
    """C15"""
    assert killed_by((first, 5.0), (second, 5.9)) == [False, first == second == SIGINT]


@pytest.mark.parametrize("first", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("second", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_a_second_after_the_first_kills_unless_it_is_a_hangup(first, second):
    """C15"""
    assert killed_by((first, 5.0), (second, 6.0)) == [False, second != SIGHUP]


def test_the_second_is_counted_from_the_first_signal():
    """C15"""
    signals = [(SIGTERM, 5.0), (SIGHUP, 5.5), (SIGTERM, 5.9), (SIGHUP, 60.0), (SIGTERM, 6.0)]
    assert killed_by(*signals) == [False, False, False, False, True]


def test_a_second_ctrl_c_kills_whatever_came_first():
    """C15"""
    assert killed_by((SIGHUP, 5.0), (SIGINT, 5.1), (SIGINT, 5.2)) == [False, False, True]


def test_the_first_signal_decides_the_exit_code():
    stop = StopSignals()
    assert stop.first is None
    stop.receive(SIGHUP, 1.0)
    stop.receive(SIGINT, 9.0)
    assert stop.first == SIGHUP


def test_a_signal_has_the_time_of_its_arrival_not_of_its_reading():
    """C15: the loop may be busy while two signals arrive."""
    with SignalInbox() as inbox:
        before = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        after = time.monotonic()
        ((number, at),) = inbox.take()
    assert number == SIGTERM
    assert before <= at <= after


def test_a_handler_for_children_is_set_again_at_the_end():
    """It is taken out, because it may reap the launcher; a program continues after its run."""

    def reap(*_):
        pass

    before = signal.signal(signal.SIGCHLD, reap)
    try:
        with SignalInbox():
            assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGCHLD) is reap
    finally:
        signal.signal(signal.SIGCHLD, before)

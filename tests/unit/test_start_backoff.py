"""Starts that fail for lack of resources are retried with growing delays, and given up in the end."""

import errno
from itertools import pairwise

import pytest

from mprun.launcher.start_backoff import (
    FIRST_DELAY,
    GIVE_UP_SECONDS,
    MAX_DELAY,
    RETRIED_ERRORS,
    StartBackoff,
    require_free_descriptors,
)


@pytest.mark.parametrize("error", sorted(RETRIED_ERRORS))
def test_delays_double_up_to_one_second_for_half_a_minute(error):
    backoff, now, delays = StartBackoff(), 100.0, []
    assert backoff.remaining(now) == 0
    while backoff.should_retry("a", error, now):
        delays.append(backoff.remaining(now))
        now += delays[-1]
    assert delays[0] == pytest.approx(FIRST_DELAY)
    assert max(delays) == pytest.approx(MAX_DELAY)
    assert all(later == pytest.approx(min(2 * delay, 1)) for delay, later in pairwise(delays))
    assert GIVE_UP_SECONDS <= now - 100 < GIVE_UP_SECONDS + 1


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ESRCH, None])
def test_other_errors_are_final(error):
    backoff = StartBackoff()
    assert not backoff.should_retry("a", error, 0)
    assert backoff.remaining(0) == 0


def test_each_start_is_retried_for_the_full_time():
    backoff = StartBackoff()
    assert backoff.should_retry("a", errno.EAGAIN, 0)
    assert backoff.should_retry("a", errno.EAGAIN, GIVE_UP_SECONDS - 1)
    assert backoff.should_retry("b", errno.EAGAIN, GIVE_UP_SECONDS)
    assert backoff.remaining(GIVE_UP_SECONDS) == pytest.approx(FIRST_DELAY)
    backoff.reset()
    assert backoff.remaining(GIVE_UP_SECONDS) == 0


def test_checking_for_free_descriptors_keeps_none_open(monkeypatch):
    import os

    before = len(os.listdir("/proc/self/fd"))
    require_free_descriptors()
    assert len(os.listdir("/proc/self/fd")) == before
    opened = []

    def dup(descriptor, real=os.dup):
        if len(opened) == 3:
            raise OSError(errno.EMFILE, "none left")
        opened.append(real(descriptor))
        return opened[-1]

    monkeypatch.setattr(os, "dup", dup)
    with pytest.raises(OSError, match="none left"):
        require_free_descriptors()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_start_is_retried_while_others_run_that_will_free_resources():
    backoff = StartBackoff()
    assert backoff.should_retry("a", errno.EMFILE, 0, others=True)
    assert backoff.should_retry("a", errno.EMFILE, 10 * GIVE_UP_SECONDS, others=True)
    assert backoff.should_retry("a", errno.EMFILE, 11 * GIVE_UP_SECONDS - 1)
    assert not backoff.should_retry("a", errno.EMFILE, 11 * GIVE_UP_SECONDS)


def test_a_cancelled_start_holds_back_no_other():
    backoff = StartBackoff()
    assert backoff.should_retry("a", errno.EMFILE, 0)
    backoff.cancelled("b")
    assert backoff.is_active
    backoff.cancelled("a")
    assert not backoff.is_active

"""What there is no room for is tried again, ever less often, and given up in the end."""

import errno
from itertools import pairwise

import pytest

from mprun.launcher.start_backoff import FIRST_DELAY, LONGEST_DELAY, PATIENCE, WANTS, Shortage, reserve


@pytest.mark.parametrize("error", sorted(WANTS))
def test_the_pauses_double_up_to_a_second_for_half_a_minute(error):
    shortage, now, pauses = Shortage(), 100.0, []
    assert shortage.remaining(now) == 0
    while shortage.postpones("a", error, now):
        pauses.append(shortage.remaining(now))
        now += pauses[-1]
    assert pauses[0] == pytest.approx(FIRST_DELAY)
    assert max(pauses) == pytest.approx(LONGEST_DELAY)
    assert all(later == pytest.approx(min(2 * pause, 1)) for pause, later in pairwise(pauses))
    assert PATIENCE <= now - 100 < PATIENCE + 1


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ESRCH, None])
def test_other_errors_are_final(error):
    shortage = Shortage()
    assert not shortage.postpones("a", error, 0)
    assert shortage.remaining(0) == 0


def test_each_start_has_its_own_patience():
    shortage = Shortage()
    assert shortage.postpones("a", errno.EAGAIN, 0)
    assert shortage.postpones("a", errno.EAGAIN, PATIENCE - 1)
    assert shortage.postpones("b", errno.EAGAIN, PATIENCE)
    assert shortage.remaining(PATIENCE) == pytest.approx(FIRST_DELAY)
    shortage.over()
    assert shortage.remaining(PATIENCE) == 0


def test_to_reserve_keeps_nothing(monkeypatch):
    import os

    before = len(os.listdir("/proc/self/fd"))
    reserve()
    assert len(os.listdir("/proc/self/fd")) == before
    opened = []

    def dup(descriptor, real=os.dup):
        if len(opened) == 3:
            raise OSError(errno.EMFILE, "none left")
        opened.append(real(descriptor))
        return opened[-1]

    monkeypatch.setattr(os, "dup", dup)
    with pytest.raises(OSError, match="none left"):
        reserve()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_start_is_tried_for_as_long_as_others_run_that_will_make_room():
    shortage = Shortage()
    assert shortage.postpones("a", errno.EMFILE, 0, others=True)
    assert shortage.postpones("a", errno.EMFILE, 10 * PATIENCE, others=True)
    assert shortage.postpones("a", errno.EMFILE, 11 * PATIENCE - 1)
    assert not shortage.postpones("a", errno.EMFILE, 11 * PATIENCE)


def test_what_is_withdrawn_holds_back_nobody():
    shortage = Shortage()
    assert shortage.postpones("a", errno.EMFILE, 0)
    shortage.cancelled("b")
    assert shortage.lasts
    shortage.cancelled("a")
    assert not shortage.lasts

"""CPU time that a test may compare: other processes do not lengthen it, nor do other tests."""

from __future__ import annotations

import time
from contextlib import contextmanager

from mprun.record import garbage_collector

# What `_yardstick` took on an idle machine of the kind for which the tests have their bounds, in seconds.
YARDSTICK = 0.010


class CpuTime:
    """What a block of code took: `seconds` of CPU time, once it has ended."""

    seconds = float("inf")


def _yardstick():
    """A fixed piece of work: many small objects are made, hashed and sorted."""
    table = {}
    for number in range(20_000):
        table[f"name-{number}"] = [number, (str(number), number)]
    return sorted(table, key=len)


@contextmanager
def cpu_time():
    """Measure the CPU time of a block, without the garbage collector.

    A collection goes through the objects of all tests that have run in this process, so its cost depends
    on them, and a block that makes ten times as many objects meets more than ten times as many of them.
    """
    spent = CpuTime()
    with garbage_collector.paused():
        begun = time.process_time()
        try:
            yield spent
        finally:
            spent.seconds = time.process_time() - begun


def cpu_seconds(work):
    """The CPU time of one call, in seconds."""
    with cpu_time() as spent:
        work()
    return spent.seconds


def assert_quick(seconds, most, clock=time.process_time):
    """Fail if what took `seconds` by a clock would take `most` seconds or more on an idle machine.

    What shares a core or its caches with this process makes each second do less. So what takes longer is
    compared with a fixed piece of work, measured by the same clock right after it.
    """
    if seconds >= most:
        slowness = max(_yardstick_seconds(clock) for _ in range(5)) / YARDSTICK
        assert seconds / slowness < most, f"{seconds:.1f} s, {slowness:.1f} times as slow as idle"


def _yardstick_seconds(clock):
    with garbage_collector.paused():
        begun = clock()
        _yardstick()
        return clock() - begun


@contextmanager
def quick(most, clock=time.process_time):
    """Fail if a block takes `most` seconds or more of CPU time, or by another clock, of an idle machine."""
    with garbage_collector.paused():
        begun = clock()
        yield
        spent = clock() - begun
    assert_quick(spent, most, clock)


def growth(few, many, rounds=3):
    """How many times as long `many()` takes as `few()`; each returns the seconds that it took.

    The least of several rounds, one beside the other: a busy machine lengthens some of them.
    """
    least, most = zip(*[(few(), many()) for _ in range(rounds)], strict=True)
    # The clock is not exact enough for less.
    return min(most) / max(min(least), 0.002)

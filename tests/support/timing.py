"""CPU time that a test may compare: other processes do not lengthen it, nor do other tests."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager


class CpuTime:
    """What a block of code took: `seconds` of CPU time, once it has ended."""

    seconds = float("inf")


@contextmanager
def without_collections():
    """Keep the garbage collector from running in a block.

    A collection goes through the objects of all tests that have run in this process, so its cost depends
    on them, and a block that makes ten times as many objects meets more than ten times as many of them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def cpu_time():
    """Measure the CPU time of a block, without the garbage collector."""
    spent = CpuTime()
    with without_collections():
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


def growth(few, many, rounds=3):
    """How many times as long `many()` takes as `few()`; each returns the seconds that it took.

    The least of several rounds, one beside the other: a busy machine lengthens some of them.
    """
    least, most = zip(*[(few(), many()) for _ in range(rounds)], strict=True)
    # The clock is not exact enough for less.
    return min(most) / max(min(least), 0.002)

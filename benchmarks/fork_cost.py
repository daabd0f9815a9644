"""What a task's process costs beside a fork that does nothing: copied pages, and time.

`python benchmarks/fork_cost.py` prints, for a process that has imported what the launcher
imports, the page faults of the child, those of the parent between two forks, and the time of
a whole start and wait, medians: for a bare fork, with and without threading's clean-up, and
for a no-op task.
"""

import gc
import itertools
import os
import resource
import select
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

from mprun.launcher import fork, launcher, worker
from mprun.launcher.worker import Process, share_with_forks

FORKS = 300


def bare() -> int:
    """Fork and wait; the page faults of the child."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_minflt


def task(directory: str) -> Callable[[], int]:
    """A function that starts a no-op task as the launcher does, and waits for its end."""
    worker.hold_folders(((directory, 0, 0), (directory, 0, 0)))
    copied = Process("fork", "fork")
    share_with_forks(copied, fork.launcher_pidfd[0])
    copied.warm_up()
    # The fields of PROCESS_REQUEST.
    begin: tuple[object, ...] = ((0, 1), "noop", 1, False, "fork", "", None, None, (), {})
    end: tuple[object, ...] = ("result", {}, None, False, (), 0, noop)
    numbers = itertools.count()

    def run() -> int:
        # The log of an attempt is a new file.
        copied.request = (*begin, f"{next(numbers)}.log", *end, os.getpid(), -1)
        held = fork.Fork(copied)
        select.select([held.pidfd], [], [])
        _, status, usage = os.wait4(held.pid, 0)
        assert status == 0, "the fields have changed"
        held.close()
        return usage.ru_minflt

    return run


def noop() -> None:
    """The target of the task."""


def measure(name: str, start: Callable[[], int]) -> None:
    """Print the page faults of child and parent, and microseconds for one start and wait."""
    spans, faults = [], []
    for _ in range(20):
        start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(FORKS):
        begun = time.perf_counter()
        faults.append(start())
        spans.append(time.perf_counter() - begun)
    own = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / FORKS
    child, span = statistics.median(faults), statistics.median(spans) * 1e6
    print(f"{name:<42} {child:>6.0f} {own:>7.0f} {span:>6.0f}", flush=True)


def main() -> None:
    """Measure in a forked process that is set up like the launcher."""
    print(f"{'a fork of what ' + launcher.__name__ + ' imports':<42} {'child':>6} {'parent':>7} {'µs':>6}")
    fork.launcher_pidfd.append(os.pidfd_open(os.getpid()))
    fork.keep_descriptors_private()
    gc.collect()
    gc.freeze()
    measure("bare, with threading's clean-up", bare)
    fork.skip_thread_reset()
    measure("bare, without it", bare)
    with tempfile.TemporaryDirectory() as directory:
        measure("a no-op task", task(directory))


if __name__ == "__main__":
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        main()
        os._exit(0)
    os.waitpid(pid, 0)

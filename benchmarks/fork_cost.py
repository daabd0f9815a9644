"""What a fork costs a child that does nothing, with and without threading's clean-up.

`python benchmarks/fork_cost.py` prints the pages that the child touches and the time of a
whole fork and wait, medians, for a process that has imported what the launcher imports.
"""

import gc
import os
import resource
import statistics
import time

from mprun import launcher, popen

FORKS = 300


def measure() -> tuple[float, float]:
    """Page faults of a child, and microseconds for one fork and wait."""
    spans = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    for _ in range(FORKS):
        begun = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        spans.append(time.perf_counter() - begun)
    faults = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before
    return faults / FORKS, statistics.median(spans) * 1e6


if __name__ == "__main__":
    print(f"a fork of what {launcher.__name__} imports:")
    gc.collect()
    gc.freeze()
    print("with threading's clean-up:    {:.0f} page faults, {:.0f} µs".format(*measure()))
    popen.skip_thread_reset()
    print("without, as the launcher has: {:.0f} page faults, {:.0f} µs".format(*measure()))

"""A task that keeps one core busy: with a core of its own, its wall time is about its CPU time."""

from __future__ import annotations

import os
import time


def compute(seconds: float = 0.3) -> dict[str, float]:
    """Use `seconds` of CPU time; return the CPU and wall time that it took, in seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < seconds:
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"cpu={cpu:.2f}s wall={wall:.2f}s")
    return {"pid": os.getpid(), "cpu": cpu, "wall": wall}

"""A task that prints ten times in two seconds, if nothing stops it."""

from __future__ import annotations

import time


def work() -> int:
    for step in range(10):
        print(f"work: {step}")
        time.sleep(0.2)
    return 10

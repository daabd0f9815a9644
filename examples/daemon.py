"""A task that would print ten times in two seconds, if it were let."""

from __future__ import annotations

import time


def work() -> int:
    for step in range(10):
        print(f"work: {step}")
        time.sleep(0.2)
    return 10

"""A task that prints its identity, then dances."""

from __future__ import annotations

import time

from examples.identity import Identity, introduce


def dance(num: int = 3, name: str = "Li Si", pause: float = 0.2) -> Identity:
    me = introduce("dance")
    print(f"{name} dances")
    for _ in range(num):
        print("Dancing···")
        time.sleep(pause)
    return me

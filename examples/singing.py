"""A task that prints its identity, then sings."""

from __future__ import annotations

import time

from examples.identity import Identity, introduce


def sing(num: int = 3, name: str = "Wang Wu", pause: float = 0.2) -> Identity:
    me = introduce("sing")
    print(f"{name} sings")
    for _ in range(num):
        print("Singing···")
        time.sleep(pause)
    return me

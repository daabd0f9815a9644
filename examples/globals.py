"""A module-level list that one task fills and another reads: each process has a list of its own."""

from __future__ import annotations

import time

numbers: list[int] = []


def write() -> list[int]:
    for number in range(3):
        numbers.append(number)
        print(f"add: {number}")
        time.sleep(0.1)
    print(f"Add complete {numbers}")
    return numbers


def read() -> list[int]:
    print(f"read: {numbers}")
    return numbers

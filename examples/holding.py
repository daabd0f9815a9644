"""Tasks that show their tokens, limits and environment."""

from __future__ import annotations

import itertools
import os
import resource
import time


def hold(seconds: float) -> tuple[float, float]:
    """Sleep; return the times of the start and the end, by the clock that all tasks share."""
    began = time.monotonic()
    print("begins")
    time.sleep(seconds)
    print("ends")
    return began, time.monotonic()


def limits() -> dict[str, object]:
    """The limits of this process, as the kernel has them."""
    found = {
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "cpu_time": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    return found


def spin() -> None:
    """Compute in an endless loop."""
    while True:
        pass


def grow() -> None:
    """Ask for more and more memory."""
    held = []
    while True:
        held.append(bytearray(16 * 1024 * 1024))


def print_without_end() -> None:
    """Print until stopped."""
    for line in itertools.count(1):
        print(f"line {line}")
        time.sleep(0.02)


def environment(*names: str) -> dict[str, str | None]:
    """Some variables of the environment."""
    found = {name: os.environ.get(name) for name in names}
    for name, value in found.items():
        print(f"{name}={value}")
    return found


def length(token: str) -> int:
    """The length of a secret, and nothing else about it."""
    print(f"{len(token)} characters")
    return len(token)

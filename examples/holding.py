"""Tasks that show what they are held to: tokens, limits, an environment."""

from __future__ import annotations

import os
import resource
import time


def hold(seconds: float) -> tuple[float, float]:
    """Be there for a while; when it began and when it ended, by the clock that all tasks share."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def limits() -> dict[str, object]:
    """What the kernel holds this process to."""
    found = {
        "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
        "cpu_time": resource.getrlimit(resource.RLIMIT_CPU)[0],
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }
    print(found)
    return found


def spin() -> None:
    """Compute without end."""
    while True:
        pass


def grow() -> None:
    """Ask for more and more memory."""
    held = []
    while True:
        held.append(bytearray(16 * 1024 * 1024))


def print_without_end() -> None:
    """Print until stopped."""
    while True:
        print("x" * 80)


def environment(*names: str) -> dict[str, str | None]:
    """Some variables of the environment."""
    return {name: os.environ.get(name) for name in names}


def length(token: str) -> int:
    """How long a secret is, which is all that it tells."""
    return len(token)

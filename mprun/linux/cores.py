"""How many cores there are for this process."""

from __future__ import annotations

import os


def count_cores() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        # Not everywhere, and a seccomp filter may refuse it.
        return os.cpu_count() or 1

"""Says that the kernel killed a process for lack of memory, which few runs have to."""

from __future__ import annotations

from mprun.jobfile.units import size_text


def out_of_memory_words(limit: str) -> str:
    """Why the kernel killed a process, after how it ended; `limit` is its cgroup's in bytes, "" for none."""
    if not limit:
        return " (out of memory)"
    return f" (out of memory: the cgroup's limit of {size_text(int(limit), ' ')})"

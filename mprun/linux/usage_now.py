"""What a process uses at this moment, for the views that show it while it runs."""

from __future__ import annotations

import os

from mprun.linux import procfs


def read_usage_now(pid: int, start_ticks: int | None) -> tuple[float, int] | None:
    """The CPU seconds of a process and the memory that it has now, in bytes.

    None if it has ended, cannot be seen, or did not begin at `start_ticks`: another one has its pid.
    """
    stat = procfs.read_stat(pid)
    if stat is None or stat.start_ticks != start_ticks:
        return None
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = file.read().split()
    except OSError:
        pages = []
    return stat.cpu, int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else 0

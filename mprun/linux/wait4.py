"""wait4(2): how a child ended and what it used, in one call."""

from __future__ import annotations

import os

# `os.wait4` imports it after it has reaped the child: by then there may be no descriptor for that.
import resource  # noqa: F401


def wait(pid: int, flag: int = os.WNOHANG) -> tuple[int, float, int] | None:
    """Reap a child: its raw status, its CPU time in seconds and its peak memory in bytes.

    None if `flag` is WNOHANG and the child has not ended. Raises ChildProcessError if it is not
    a child of this process, or has been reaped already.
    """
    found, status, usage = os.wait4(pid, flag)
    return (status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024) if found else None

"""Has the kernel kill a process when a pipe is closed: for a process that cannot ask for that itself yet.

The signal at the parent's death (prctl(2)) is set by the child, and a new Python takes a while until it can,
on a busy machine more than a second. The signal of a pipe (O_ASYNC, fcntl(2)) is set by the parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys


def kill_when_closed(descriptor: int, pid: int) -> None:
    """Have the kernel kill `pid` when the other end of the pipe at `descriptor` is closed by all who have it.

    That holds while someone has this end, such as the process. Nothing may be written to the pipe: that
    would have the same effect. Does nothing on other systems than Linux, and if the kernel refuses it.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        aim(descriptor, pid)
        arm(descriptor)


def arm(descriptor: int) -> None:
    """The same in two parts, for one process after the other: what is done once. Raises OSError."""
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)


def disarm(descriptor: int) -> None:
    """Take that back, for all who have this end open."""
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_ASYNC)


def aim(descriptor: int, pid: int) -> None:
    """And for each of them, from now on in place of the one before. Raises OSError."""
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, pid)

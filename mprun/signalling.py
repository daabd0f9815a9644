"""Sends signals so that they reach the process that is meant, and none that has its number by now.

A number is free for others as soon as its process is reaped. Who is the only one that
could reap a process may go by its number; everybody else holds it by a pidfd first, and
then looks whether it is still the one.
"""

from __future__ import annotations

import os
import signal

from mprun import procfs

# pidfd_send_signal(2), from <linux/pidfd.h>; since Linux 6.9.
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2


def kill(pid: int, start_ticks: int) -> bool:
    """Kill the process of this number that began at this time; whether a signal was sent."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        stat = procfs.read_stat(pid)
        if stat is None or stat.start_ticks != start_ticks:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # What has become another user's (sudo) cannot be killed; that must not end who tries.
        return False
    finally:
        os.close(pidfd)
    return True

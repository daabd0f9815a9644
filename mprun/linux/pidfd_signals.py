"""Sends signals so that they reach the process that is meant, and none that has its number by now.

A number is free for others as soon as its process is reaped. Who is the only one that
could reap a process may go by its number; everybody else holds it by a pidfd first, and
then looks whether it is still the one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal

from mprun.linux import procfs

# pidfd_send_signal(2), from <linux/pidfd.h>; since Linux 6.9.
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2


def kill(pid: int, start_ticks: int, number: int = signal.SIGKILL) -> bool:
    """Kill the process of this number that began at this time; whether a signal, or another, was sent."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        stat = procfs.read_stat(pid)
        if stat is None or stat.start_ticks != start_ticks:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        # What has become another user's (sudo) cannot be killed; that must not end who tries.
        return False
    finally:
        os.close(pidfd)
    return True


def is_held(pidfd: int) -> bool:
    """Whether nobody has reaped the process yet, so that its number is still its own."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def signal_group(leader: int, pidfd: int, number: int) -> None:
    """Send a signal to the group that a process leads, or to it alone before it leads one.

    For a process that somebody else may reap meanwhile. Raises ProcessLookupError where
    that has happened.
    """
    try:
        signal.pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        signal_members(leader, pidfd, number)


def signal_members(leader: int, pidfd: int, number: int) -> None:
    """As `signal_group`, for kernels before 6.9: each member by a pidfd of its own."""
    members = [pid for pid, stat in procfs.processes().items() if stat.group == leader and stat.is_alive]
    held = {}
    try:
        for pid in members:
            with contextlib.suppress(OSError):
                held[pid] = os.pidfd_open(pid)
        still = [pid for pid in held if (stat := procfs.read_stat(pid)) and stat.group == leader]
        # Only now: where the leader has its number still, the group had it from the leader.
        if not is_held(pidfd):
            raise ProcessLookupError
        for descriptor in [held[pid] for pid in still if pid != leader] + [pidfd]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        for descriptor in held.values():
            os.close(descriptor)

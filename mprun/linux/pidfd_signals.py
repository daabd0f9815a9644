"""Sends signals to a process and never to another one that has got its pid since.

The kernel may reuse a pid as soon as its process has been reaped. Code that is the only one
that could reap a process may signal it by its pid; all other code opens a pidfd first, and then
checks that it belongs to the right process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal

from mprun.linux import procfs

# pidfd_send_signal(2), from <linux/pidfd.h>; since Linux 6.9.
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2


def kill(pid: int, start_ticks: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to the process with this pid and this start time; whether it was sent.

    `start_ticks` is in clock ticks since boot, as in `procfs.Stat`; `number` is the signal's.
    """
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
        # A process that has changed its user (sudo) cannot be killed; the caller must survive that.
        return False
    finally:
        os.close(pidfd)
    return True


def await_end(pid: int, start_ticks: int, seconds: float) -> None:
    """Wait until the process with this pid and this start time has ended; kill it after some seconds."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        stat = procfs.read_stat(pid)
        is_ours = stat is not None and stat.start_ticks == start_ticks
        if is_ours and not poll.poll(1000 * seconds):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def is_unreaped(pidfd: int) -> bool:
    """Whether the process has not been reaped yet, so that its pid is still its own."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def signal_group(leader: int, pidfd: int, number: int) -> None:
    """Send a signal to the group that a process leads, or only to the process if it leads none yet.

    For a process that another one may reap at any time. Raises ProcessLookupError if that has
    happened.
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
    """Like `signal_group`, but through a pidfd for each member: for kernels before 6.9."""
    members = [pid for pid, stat in procfs.processes().items() if stat.group == leader and stat.is_alive]
    pidfds = {}
    try:
        for pid in members:
            with contextlib.suppress(OSError):
                pidfds[pid] = os.pidfd_open(pid)
        still = [pid for pid in pidfds if (stat := procfs.read_stat(pid)) and stat.group == leader]
        # Only now: if the leader is unreaped at this point, the group was its group before.
        if not is_unreaped(pidfd):
            raise ProcessLookupError
        for descriptor in [pidfds[pid] for pid in still if pid != leader] + [pidfd]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)
    finally:
        for descriptor in pidfds.values():
            os.close(descriptor)

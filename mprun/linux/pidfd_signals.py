"""Sends signals to a process and never to another one that has got its pid since.

The kernel may reuse a pid as soon as its process has been reaped. Code that is the only one
that could reap a process may signal it by its pid; all other code opens a pidfd first, and then
checks that it belongs to the right process. A system may refuse pidfds (a seccomp filter): `refused` has the
names of the calls that it refuses, as far as they were tried, and `pidfd_stand_ins` does without them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal

from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# pidfd_send_signal(2), from <linux/pidfd.h>; since Linux 6.9.
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
# What pidfd_open(2) and pidfd_send_signal(2) themselves may answer about a process or about this one.
_OPEN_ERRORS = {errno.ESRCH, errno.EINVAL, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV}
_SEND_ERRORS = {errno.ESRCH, errno.EINVAL, errno.EBADF}

refused: set[str] = set()


def _is_missing(*_: object) -> NoReturn:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


# A Python that was built with the headers of an older kernel lacks them.
pidfd_open: Callable[[int], int] = getattr(os, "pidfd_open", _is_missing)
pidfd_send_signal: Callable[..., None] = getattr(signal, "pidfd_send_signal", _is_missing)
# The stand-ins for pidfds where pidfd_open is refused: by descriptor, the pid and the start in clock ticks
# since boot, None if that cannot be known.
stand_ins: dict[int, tuple[int, int | None]] = {}


def open_pidfd(pid: int) -> int:
    """A pidfd of a process, or a stand-in if the system refuses pidfds; `close_pidfd` closes it.

    Raises OSError: ProcessLookupError if there is no such process, others if there is no descriptor.
    """
    try:
        return pidfd_open(pid)
    except OSError as error:
        if not is_refusal(error):
            raise
    from mprun.linux import pidfd_stand_ins

    refused.add("pidfd_open")
    pidfd, start_ticks = pidfd_stand_ins.open_stand_in(pid)
    stand_ins[pidfd] = pid, start_ticks
    return pidfd


def close_pidfd(pidfd: int) -> None:
    """Close what `open_pidfd` has opened."""
    stand_ins.pop(pidfd, None)
    os.close(pidfd)


def send(pid: int, pidfd: int, number: int) -> None:
    """Send a signal to the process `pid`, to which the pidfd or stand-in belongs.

    Raises ProcessLookupError if it is gone, PermissionError if it has changed its user.
    """
    if pidfd not in stand_ins:
        try:
            return pidfd_send_signal(pidfd, number)
        except OSError as error:
            if not _is_sending_refused(error):
                raise
    from mprun.linux import pidfd_stand_ins

    if pidfd in stand_ins:
        pidfd_stand_ins.send(*stand_ins[pidfd], number)
    else:
        pidfd_stand_ins.send_if_unreaped(pid, pidfd, number)


def is_refusal(error: OSError) -> bool:
    """Whether pidfd_open(2) is not there or not allowed; any other error is about this call alone."""
    return error.errno not in _OPEN_ERRORS


def check_support(pidfd: int) -> None:
    """Note in `refused` if pidfd_send_signal(2) is not there or not allowed; `pidfd` is of this process."""
    try:
        pidfd_send_signal(pidfd, 0)
    except OSError:
        refused.add("pidfd_send_signal")


def _is_sending_refused(error: OSError) -> bool:
    """Whether an error says that the call is refused, and nothing about the process (PermissionError may)."""
    if error.errno in _SEND_ERRORS:
        return False
    if "pidfd_send_signal" not in refused:
        # Without a free descriptor, the next refusal asks again.
        with contextlib.suppress(OSError):
            pidfd = pidfd_open(os.getpid())
            check_support(pidfd)
            os.close(pidfd)
    return "pidfd_send_signal" in refused


def kill(pid: int, start_ticks: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal to the process with this pid and this start time; whether it was sent.

    `start_ticks` is in clock ticks since boot, as in `procfs.Stat`; `number` is the signal's.
    """
    try:
        pidfd = open_pidfd(pid)
    except OSError:
        return False
    try:
        stat = procfs.read_stat(pid)
        if stat is None or stat.start_ticks != start_ticks:
            return False
        send(pid, pidfd, number)
    except (ProcessLookupError, PermissionError):
        # A process that has changed its user (sudo) cannot be killed; the caller must survive that.
        return False
    finally:
        close_pidfd(pidfd)
    return True


def await_end(pid: int, start_ticks: int, seconds: float) -> None:
    """Wait until the process with this pid and this start time has ended; kill it after some seconds."""
    try:
        pidfd = open_pidfd(pid)
    except OSError:
        return
    try:
        stat = procfs.read_stat(pid)
        is_ours = stat is not None and stat.start_ticks == start_ticks
        if is_ours and not has_ended(pidfd, seconds):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(pid, pidfd, signal.SIGKILL)
    finally:
        close_pidfd(pidfd)


def has_ended(pidfd: int, seconds: float) -> bool:
    """Wait until a process has ended, for some seconds at most; whether it has."""
    if pidfd in stand_ins:
        from mprun.linux import pidfd_stand_ins

        return pidfd_stand_ins.await_end(*stand_ins[pidfd], seconds)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def is_unreaped(pid: int, pidfd: int) -> bool:
    """Whether the process has not been reaped yet, so that its pid is still its own."""
    try:
        send(pid, pidfd, 0)
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
    if pidfd not in stand_ins:
        try:
            return pidfd_send_signal(pidfd, number, None, PIDFD_SIGNAL_PROCESS_GROUP)
        except ProcessLookupError:
            return send(leader, pidfd, number)
        except OSError as error:
            if error.errno != errno.EINVAL and not _is_sending_refused(error):
                raise
    signal_members(leader, pidfd, number)


def signal_members(leader: int, pidfd: int, number: int) -> None:
    """Like `signal_group`, but through a pidfd for each member: for kernels before 6.9."""
    members = [pid for pid, stat in procfs.processes().items() if stat.group == leader and stat.is_alive]
    pidfds = {}
    try:
        for pid in members:
            with contextlib.suppress(OSError):
                pidfds[pid] = open_pidfd(pid)
        still = [pid for pid in pidfds if (stat := procfs.read_stat(pid)) and stat.group == leader]
        # Only now: if the leader is unreaped at this point, the group was its group before.
        if not is_unreaped(leader, pidfd):
            raise ProcessLookupError
        for pid, descriptor in [(pid, pidfds[pid]) for pid in still if pid != leader] + [(leader, pidfd)]:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(pid, descriptor, number)
    finally:
        for descriptor in pidfds.values():
            close_pidfd(descriptor)

"""Does without pidfds where the system refuses them: a seccomp filter, or a kernel before Linux 5.3.

Which process has a pid is then decided by its start time, from /proc, and for a child by the fact that it
is not reaped yet. Between that look and the signal there is a moment in which the pid could become that of
another process. The end of a child is noticed by looking for it.
"""

from __future__ import annotations

import os
import select
from math import inf
from time import monotonic, sleep

from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    # By descriptor, the pid of a process and its start in clock ticks since boot, None if that is unknown.
    StandIns = dict[int, tuple[int, int | None]]

# How often processes are looked at for their end, in seconds.
INTERVAL = 0.005
_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


def open_stand_in(pid: int) -> tuple[int, int | None]:
    """A descriptor in place of a pidfd, and the start of the process in clock ticks since boot.

    The start of a child is None if it cannot be known. Raises OSError: ProcessLookupError if there is no such
    process.
    """
    start_ticks = procfs.start_ticks(pid)
    if start_ticks is None and not _is_child(pid):
        raise ProcessLookupError
    return os.eventfd(0, os.EFD_CLOEXEC), start_ticks


def send(pid: int, start_ticks: int | None, number: int) -> None:
    """Send a signal by kill(2), if the process with this pid still has this start time.

    Raises ProcessLookupError if it has not, PermissionError if it has changed its user.
    """
    is_own = _is_child(pid) if start_ticks is None else procfs.start_ticks(pid) == start_ticks
    if not is_own:
        raise ProcessLookupError
    os.kill(pid, number)


def send_if_unreaped(pid: int, pidfd: int, number: int) -> None:
    """Send a signal by kill(2), if the process to which a pidfd belongs is provably not reaped.

    Raises ProcessLookupError if it is not, PermissionError if it has changed its user.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    # A pidfd is readable once its process has ended.
    if poll.poll(0) and not _is_child(pid):
        raise ProcessLookupError
    os.kill(pid, number)


def _is_child(pid: int) -> bool:
    """Whether it is a child of this process that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, _ENDED)
    except ChildProcessError:
        return False
    return True


def await_end(pid: int, start_ticks: int | None, seconds: float) -> bool:
    """Wait until a process has ended, for some seconds at most; whether it has."""
    deadline = monotonic() + seconds
    while start_ticks is not None and procfs.is_alive(pid, start_ticks):
        if monotonic() > deadline:
            return False
        sleep(INTERVAL)
    return True


class LookingEpoll:
    """An epoll set in which a stand-in becomes readable once its process, a child, has ended."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        self.fileno = self._epoll.fileno
        self.modify = self._epoll.modify

    def register(self, descriptor: object, events: int) -> None:
        """As that of `select.epoll`."""
        self._epoll.register(descriptor, events)  # type: ignore[arg-type]  # also a socket
        if descriptor in self._stand_ins:
            self._watched[descriptor] = self._stand_ins[descriptor][0]

    def unregister(self, descriptor: int) -> None:
        """As that of `select.epoll`."""
        self._epoll.unregister(descriptor)
        # It is a stand-in until it is closed: the process may have to be signalled.
        self._watched.pop(descriptor, None)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """As that of `select.epoll`; `timeout` is in seconds, None for no limit."""
        end = inf if timeout is None else monotonic() + timeout
        while True:
            for descriptor in self._watched:
                self._look(descriptor)
            left = min(end - monotonic(), INTERVAL if self._watched else inf)
            found = self._epoll.poll(None if left == inf else max(0.0, left))
            if found or monotonic() >= end:
                return found

    def _look(self, descriptor: int) -> None:
        """Make a stand-in readable if its process has ended, or was reaped by a handler of a module."""
        try:
            if os.waitid(os.P_PID, self._watched[descriptor], _ENDED) is None:
                return
        except ChildProcessError:
            pass
        os.eventfd_write(descriptor, 1)

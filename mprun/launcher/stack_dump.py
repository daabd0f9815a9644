"""Asks a task for the stacks of its threads before it is stopped, and waits a little for them."""

from __future__ import annotations

import os
import signal
import time

from mprun.linux import procfs

# How long a task may take to write them, and how long its log must have been still, in seconds.
PATIENCE = 0.2
SETTLED = 0.005


def ask(pid: int, pidfd: int) -> bool:
    """Have a process dump its stacks; False where it would die of being asked, or could not answer.

    A process that has exec'd has no handlers any more, and SIGUSR2 kills it. One that stands
    still would have to go on to answer, and would do so before it is asked to end.
    """
    stat = procfs.read_stat(pid)
    if stat is None or stat.state in "Tt" or not procfs.handles_signal(pid, signal.SIGUSR2):
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGUSR2)
    except ProcessLookupError:
        return False
    return True


class Dump:
    """A task that was asked, the signal that it is to get when it has answered, and its log."""

    def __init__(self, key: tuple[int, int], name: str, log: str) -> None:
        self.key = key
        self.signal = name
        self._log = log
        self._first = self._size = self._log_size()
        self._asked = self._changed = time.monotonic()

    def is_over(self) -> bool:
        """Whether the stacks are in the log, or have been waited for long enough."""
        now = time.monotonic()
        size = self._log_size()
        if size != self._size:
            self._size, self._changed = size, now
        answered = self._size > self._first and now - self._changed >= SETTLED
        return answered or now - self._asked >= PATIENCE

    def _log_size(self) -> int:
        try:
            return os.stat(self._log).st_size
        except OSError:
            return 0

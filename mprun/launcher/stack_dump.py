"""Has a task write the stacks of its threads to its log before a signal ends it."""

from __future__ import annotations

import os
import signal
import time

from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey

    # The name of the signal, whether a dump comes before it, and who gets it: the group or the process.
    SignalRequest = tuple[AttemptKey, str, bool, str]

# How long a task may take to write its stacks, in seconds.
TIMEOUT = 0.2
# The stacks are complete once the log has not grown for so long, in seconds.
SETTLE_SECONDS = 0.005


class StackDumps:
    """The dumps that were requested and may still be going on."""

    def __init__(self) -> None:
        self.pending: list[Dump] = []

    def request(self, request: SignalRequest, log: str, pid: int, pidfd: int) -> bool:
        """Ask a process for a dump; False if it cannot make one.

        `request` is the signal that is due once the dump is in the `log`.
        """
        dump = Dump(request, log)
        if not _request(pid, pidfd):
            return False
        self.pending.append(dump)
        return True

    def take_finished(self) -> list[Dump]:
        """Remove and return the dumps that are complete, or have taken too long."""
        finished = [dump for dump in self.pending if dump.is_finished()]
        for dump in finished:
            self.pending.remove(dump)
        return finished


class Dump:
    """One attempt's dump, and the request for the signal that is due after it."""

    def __init__(self, request: SignalRequest, log: str) -> None:
        self.request = request
        self._log = log
        self._first_size = self._size = self._log_size()
        self._requested = self._changed = time.monotonic()

    def is_finished(self) -> bool:
        """Whether the stacks are in the log, or have taken too long."""
        now = time.monotonic()
        size = self._log_size()
        if size != self._size:
            self._size, self._changed = size, now
        is_complete = self._size > self._first_size and now - self._changed >= SETTLE_SECONDS
        return is_complete or now - self._requested >= TIMEOUT

    def _log_size(self) -> int:
        try:
            return os.stat(self._log).st_size
        except OSError:
            return 0


def _request(pid: int, pidfd: int) -> bool:
    """Send a process SIGUSR2, for which the worker has a handler; False if it would not help.

    A process that has exec'd a program has no handlers any more, and would be killed. A stopped
    one would have to be resumed, and would run on before it is asked to end.
    """
    stat = procfs.read_stat(pid)
    if stat is None or stat.state in "Tt" or not procfs.handles_signal(pid, signal.SIGUSR2):
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGUSR2)
    except ProcessLookupError:
        return False
    return True

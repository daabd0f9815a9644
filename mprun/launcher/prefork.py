"""A process for the next attempt, forked before that may start: it waits at a gate.

Where one short task follows another, its fork is then over by the time that it may start.
"""

from __future__ import annotations

from mprun.launcher import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey
    from mprun.launcher.worker import Process

# Starts that follow each other within this many seconds are worth it.
QUICK = 0.1
# How long a process may wait at its gate, in seconds: nobody shall wonder what it is there for.
PATIENCE = 1.0


class Prefork:
    """A process that stands by, of which the `number` is 0 or 1, and how fast starts follow each other."""

    def __init__(self) -> None:
        self._key: AttemptKey | None = None
        self._process: fork.HeldFork | None = None
        self._since = 0.0
        self.number = 0
        self._last_start, self._pace = -float("inf"), float("inf")

    def pids(self) -> set[int]:
        """The pid of the process, if there is one."""
        return {self._process.pid} if self._process is not None else set()

    def started(self, now: float) -> None:
        """An attempt was started."""
        self._last_start, self._pace = now, now - self._last_start

    @property
    def is_wanted(self) -> bool:
        """Whether a process should be made to stand by."""
        return self._process is None and self._pace < QUICK

    def prepare(self, key: AttemptKey, process: Process, now: float) -> None:
        """Have a process stand by for this attempt, of which `process` has the assignment.

        Raises OSError where there is no room for one.
        """
        # Where that fails, it is not tried again before attempts start quickly again.
        pace, self._pace = self._pace, float("inf")
        self._process = fork.HeldFork(process)
        self._key, self._since, self.number, self._pace = key, now, 1, pace

    def take(self, key: AttemptKey) -> fork.HeldFork | None:
        """The process that stands by for this attempt, if one does."""
        if key != self._key:
            return None
        process, self._key, self._process, self.number = self._process, None, None, 0
        return process

    def cancel(self, key: AttemptKey) -> None:
        """The attempt will not start."""
        process = self.take(key)
        if process is not None:
            process.give_up()

    def look(self, now: float) -> None:
        """Give up a process that has waited for too long."""
        if self._key is not None and now - self._since > PATIENCE:
            self._pace = float("inf")
            self.cancel(self._key)

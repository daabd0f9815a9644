"""A process for the next attempt, forked while the attempt before it is still running.

If one short task follows another, its fork is done by the time it may start.
"""

from __future__ import annotations

from mprun.launcher import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey
    from mprun.launcher.worker import Process

# Forking ahead pays if starts follow each other within so many seconds.
MAX_START_INTERVAL = 0.1
# How long a process may wait for its start, in seconds: users should not wonder what it is for.
MAX_WAIT_SECONDS = 1.0


class Prefork:
    """A process that waits to become an attempt; `count` is how many there are, 0 or 1."""

    def __init__(self) -> None:
        self._key: AttemptKey | None = None
        self._process: fork.HeldFork | None = None
        self._since = 0.0
        self.count = 0
        self._last_start, self._start_interval = -float("inf"), float("inf")

    def pids(self) -> set[int]:
        """The pid of the process, if there is one."""
        return {self._process.pid} if self._process is not None else set()

    def note_start(self, now: float) -> None:
        """Note that an attempt has been started."""
        self._last_start, self._start_interval = now, now - self._last_start

    @property
    def is_wanted(self) -> bool:
        """Whether a process should be forked ahead."""
        return self._process is None and self._start_interval < MAX_START_INTERVAL

    def fork_for(self, key: AttemptKey, process: Process, now: float) -> None:
        """Fork a process for this attempt, whose request `process` has.

        Raises OSError if there is no room for a process.
        """
        # If it fails, it is not tried again until starts have followed each other quickly once more.
        interval, self._start_interval = self._start_interval, float("inf")
        self._process = fork.HeldFork(process)
        self._key, self._since, self.count, self._start_interval = key, now, 1, interval

    def take(self, key: AttemptKey) -> fork.HeldFork | None:
        """The process that waits to become this attempt, if there is one."""
        if key != self._key:
            return None
        process, self._key, self._process, self.count = self._process, None, None, 0
        return process

    def cancel(self, key: AttemptKey) -> None:
        """Discard the process if it waits for this attempt, which will not start."""
        process = self.take(key)
        if process is not None:
            process.discard()

    def expire(self, now: float) -> None:
        """Discard a process that has waited for too long."""
        if self._key is not None and now - self._since > MAX_WAIT_SECONDS:
            self._start_interval = float("inf")
            self.cancel(self._key)

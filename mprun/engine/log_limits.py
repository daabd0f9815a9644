"""Checks whether the log of a running attempt exceeds the limit of its task."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey
    from mprun.record.state_files import StateFile

# How often the sizes are checked; a fast task writes some 100 MB in this time.
CHECK_INTERVAL_SECONDS = 0.05


class LogLimits:
    """The logs of the running attempts whose task has `limits.log`."""

    def __init__(self) -> None:
        self._limits: dict[AttemptKey, tuple[StateFile, int]] = {}

    @property
    def interval(self) -> float | None:
        """Seconds until `exceeded` is due again, None if there is no log to check."""
        return CHECK_INTERVAL_SECONDS if self._limits else None

    def add(self, key: AttemptKey, log: StateFile, limit: int) -> None:
        """Check this log from now on; `limit` is in bytes."""
        self._limits[key] = (log, limit)

    def forget(self, key: AttemptKey) -> None:
        """The attempt has ended."""
        self._limits.pop(key, None)

    def exceeded(self) -> list[AttemptKey]:
        """The attempts whose log exceeds its limit, each once."""
        found = [key for key, (log, limit) in self._limits.items() if log.size() > limit]
        for key in found:
            self.forget(key)
        return found

"""Whether a task has printed more than it may: looks at its log while it runs."""

from __future__ import annotations

import os

# How often the logs are looked at, in seconds: a fast task writes some 100 MB meanwhile.
INTERVAL = 0.05


class LogLimits:
    """The logs of running attempts that have a limit, by the attempt's key."""

    def __init__(self) -> None:
        self._limits: dict[tuple[int, int], tuple[str, int]] = {}

    @property
    def interval(self) -> float | None:
        """Seconds until `exceeded` is to be asked again, None where there is nothing to ask."""
        return INTERVAL if self._limits else None

    def watch(self, key: tuple[int, int], log: str, limit: int) -> None:
        """Look at this log from now on; `limit` is in bytes."""
        self._limits[key] = (log, limit)

    def forget(self, key: tuple[int, int]) -> None:
        """The attempt has ended."""
        self._limits.pop(key, None)

    def exceeded(self) -> list[tuple[int, int]]:
        """The attempts whose log has more than its limit, each once."""
        found = [key for key, (log, limit) in self._limits.items() if _size(log) > limit]
        for key in found:
            self.forget(key)
        return found


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0

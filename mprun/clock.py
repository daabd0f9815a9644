"""The clock of a run: wall-clock timestamps for the record, monotonic readings for durations."""

from __future__ import annotations

import time


class Clock:
    """Reads the wall clock once and then adds what the monotonic clock counts, so timestamps never jump."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._pauses: list[tuple[float, float]] = []
        self._second = -1
        self._text = ""

    def now(self) -> float:
        """Seconds on the monotonic clock, which all processes of a machine share."""
        return time.monotonic()

    def pause(self, began: float, ended: float) -> None:
        """Record that the run was suspended between these two readings, so that no timer advances."""
        self._pauses.append((began, ended))

    def timed(self, monotonic: float | None = None) -> float:
        """A reading of `now`, less the time for which the run was suspended; the present one by default."""
        reading = self.now() if monotonic is None else monotonic
        if not self._pauses:
            return reading
        # A reading during a pause counts as the beginning of the pause.
        return reading - sum(min(ended, reading) - began for began, ended in self._pauses if began < reading)

    def iso(self, monotonic: float) -> str:
        """A reading of the monotonic clock as UTC in ISO 8601, with microseconds."""
        wall = monotonic + self._offset
        second = int(wall)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((wall - second) * 1_000_000):06d}Z"

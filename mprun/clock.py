"""The clock of a run: wall-clock times for the record, monotonic ones for every span."""

from __future__ import annotations

import time


class Clock:
    """Wall-clock times that never jump: read once, then counted on by the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._pauses: list[tuple[float, float]] = []
        self._second = -1
        self._text = ""

    def now(self) -> float:
        """Seconds on the monotonic clock, which all processes of a machine share."""
        return time.monotonic()

    def pause(self, began: float, ended: float) -> None:
        """The run was suspended between these readings: no timer goes on meanwhile."""
        self._pauses.append((began, ended))

    def timed(self, monotonic: float | None = None) -> float:
        """A reading of `now`, or now, on the clock that stands still while the run is suspended."""
        reading = self.now() if monotonic is None else monotonic
        # What happened in the middle of a pause happened at its beginning.
        return reading - sum(min(ended, reading) - began for began, ended in self._pauses if began < reading)

    def iso(self, monotonic: float) -> str:
        """A reading of the monotonic clock as UTC in ISO 8601, to the microsecond."""
        wall = monotonic + self._offset
        second = int(wall)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((wall - second) * 1_000_000):06d}Z"

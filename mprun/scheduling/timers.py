"""Keeps the timers of a run: which is due when."""

from __future__ import annotations

from heapq import heappop, heappush

# What a timer is for. Of timers that are due in the same instant, the first one here goes first.
KILL, ATTEMPT_TIMEOUT, READY_TIMEOUT, NEXT_ATTEMPT, RUN_TIMEOUT = range(5)


class Timers:
    """Timers are not cancelled: a timer for an attempt of a task is void once the attempt is over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, int]] = []

    @property
    def first(self) -> float | None:
        """When the next timer is due; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def set(self, due: float, kind: int, task: int, attempt: int) -> None:
        """Set a timer for an attempt of a task."""
        heappush(self._heap, (due, kind, task, attempt))

    def pop(self, now: float) -> tuple[int, int, int] | None:
        """The first timer that is due: its kind, its task, its attempt; None if none is due."""
        if not self._heap or self._heap[0][0] > now:
            return None
        return heappop(self._heap)[1:]

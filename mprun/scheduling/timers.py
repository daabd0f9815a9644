"""What is due when, in virtual or real time; pure."""

from __future__ import annotations

from heapq import heappop, heappush

# What a timer is for. Of those that are due in the same instant, the first here goes first.
KILL, ATTEMPT_TIMEOUT, READY_TIMEOUT, NEXT_ATTEMPT, RUN_TIMEOUT = range(5)


class Timers:
    """Nobody takes a timer back: set for an attempt of a task, it is void once that is over."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, int]] = []

    @property
    def first(self) -> float | None:
        """When the next is due; None when nothing is timed."""
        return self._heap[0][0] if self._heap else None

    def set(self, due: float, kind: int, task: int, attempt: int) -> None:
        heappush(self._heap, (due, kind, task, attempt))

    def pop(self, now: float) -> tuple[int, int, int] | None:
        """The first that is due by now: its kind, its task, its attempt."""
        if not self._heap or self._heap[0][0] > now:
            return None
        return heappop(self._heap)[1:]

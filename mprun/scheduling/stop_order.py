"""In which order tasks are stopped together: each one after those that depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class StopOrder:
    """The tasks that are being stopped, by number, and which of them wait for which.

    A task waits for every other one of them that depends on it, directly or through any tasks in
    between, until that one is released: it has ended, or it is killed. `needs` returns the tasks
    that a task depends on; there must be no cycle.
    """

    def __init__(self, stopping: Iterable[int], needs: Callable[[int], Iterable[int]]) -> None:
        self._stopping = set(stopping)
        # Of the stopping tasks and all that they depend on: what each depends on, and how many of
        # them depend on it and are not released. The others are released together with the last of these.
        self._needs: dict[int, tuple[int, ...]] = {}
        self._dependents: dict[int, int] = {}
        found = list(self._stopping)
        while found:
            number = found.pop()
            if number in self._needs:
                continue
            self._needs[number] = tuple(needs(number))
            for need in self._needs[number]:
                self._dependents[need] = self._dependents.get(need, 0) + 1
                if need not in self._needs:
                    found.append(need)

    def __bool__(self) -> bool:
        """Whether a task is not released yet."""
        return bool(self._stopping)

    @property
    def has_steps(self) -> bool:
        """Whether a task waits for another."""
        return any(map(self.must_wait, self._stopping))

    def must_wait(self, number: int) -> bool:
        """Whether a task waits for another."""
        return self._dependents.get(number, 0) > 0

    def release(self, number: int) -> list[int]:
        """A task has ended, or is killed: the stopping tasks that wait no longer."""
        if number not in self._stopping:
            return []
        self._stopping.discard(number)
        free: list[int] = []
        released = [] if self.must_wait(number) else [number]
        while released:
            for need in self._needs[released.pop()]:
                self._dependents[need] -= 1
                if not self._dependents[need]:
                    (free if need in self._stopping else released).append(need)
        return free

    def longest(self, grace: Callable[[int], float]) -> float:
        """The seconds after which all are released at the latest, if each uses up its grace from now on.

        It is the sum of the graces along the longest path.
        """
        waiting = dict(self._dependents)
        begins: dict[int, float] = {}
        longest = 0.0
        released = [number for number in self._needs if not waiting.get(number)]
        while released:
            number = released.pop()
            end = begins.get(number, 0.0) + (grace(number) if number in self._stopping else 0.0)
            longest = max(longest, end)
            for need in self._needs[number]:
                begins[need] = max(begins.get(need, 0.0), end)
                waiting[need] -= 1
                if not waiting[need]:
                    released.append(need)
        return longest

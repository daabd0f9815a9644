"""The main process's walk through the join order; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import outcomes
from mprun.intents import Intent, Join

if TYPE_CHECKING:
    from mprun.plan import Plan


class Joins:
    """Where the main process is on its way through the join order, in virtual or real time."""

    def __init__(self, plan: Plan) -> None:
        self._order = [(entry.task, entry.timeout) for entry in plan.join]
        listed = {task for task, _ in self._order}
        self._implicit = {number for number, planned in enumerate(plan.tasks) if not planned.task.daemon}
        # multiprocessing waits at exit for every child that is no daemon.
        self._order += [(task, None) for task in sorted(self._implicit - listed)]
        self._of = len(self._implicit | listed)
        self._next = 0
        self._joined: set[int] = set()
        self.deadline: float | None = None

    @property
    def done(self) -> bool:
        return self._next == len(self._order)

    def advance(self, outcome: list[str | None], now: float) -> list[Intent]:
        """Join what has finished, in order; give up on an entry whose time is over."""
        joins: list[Intent] = []
        while not self.done:
            task, timeout = self._order[self._next]
            if outcome[task] is None:
                if not self._timed_out(timeout, now):
                    break
                if task in self._implicit:
                    self._order.append((task, None))
            elif task not in self._joined and outcome[task] not in (outcomes.SKIPPED, outcomes.CANCELLED):
                self._joined.add(task)
                joins.append(Join(task=task, position=len(self._joined), of=self._of))
            self._next += 1
            self.deadline = None
        return joins

    def _timed_out(self, timeout: float | None, now: float) -> bool:
        if timeout is None:
            return False
        if self.deadline is None:
            self.deadline = now + timeout
        return now >= self.deadline

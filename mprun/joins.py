"""The main process's walk through the join order; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import outcomes
from mprun.intents import Intent, Join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.plan import Plan


_NEVER_RAN = (outcomes.SKIPPED, outcomes.CANCELLED)


class Joins:
    """Where the main process is on its way through the join order, in virtual or real time.

    As in a script, every start() comes before the first join(): it begins once it was told
    what there is to start at the beginning, and has started it.
    """

    def __init__(self, plan: Plan) -> None:
        self._order = [(entry.task, entry.timeout) for entry in plan.join]
        listed = {task for task, _ in self._order}
        self._implicit = {number for number, planned in enumerate(plan.tasks) if not planned.task.daemon}
        # multiprocessing waits at exit for every child that is no daemon.
        self._order += [(task, None) for task in sorted(self._implicit - listed)]
        self._listed = self._implicit | listed
        self._of = len(self._listed)
        self._next = 0
        self._joined: set[int] = set()
        # What ended in an earlier run: there is nothing to collect.
        self._carried: set[int] = set()
        # The instances of a group that was opened, until its turn comes.
        self._opened: dict[int, list[int]] = {}
        self._to_start: set[int] = set()
        self._have_begun = False
        self.deadline: float | None = None

    @property
    def done(self) -> bool:
        """Whether the main process is at its end."""
        return self._have_begun and self._next == len(self._order)

    def begin_after(self, tasks: Iterable[int]) -> None:
        """Begin once each of these was started, or will never be."""
        self._to_start = set(tasks)
        self._have_begun = not self._to_start

    def was_started(self, task: int) -> None:
        """A task was started, or will never be."""
        if self._to_start:
            self._to_start.discard(task)
            self._have_begun = not self._to_start

    def expand(self, group: int, instances: list[int]) -> None:
        """Where a task stood that turned out to be a group, its instances stand."""
        self._opened[group] = instances
        if group in self._listed:
            self._of += len(instances) - 1
        if group in self._implicit:
            self._implicit.remove(group)
            self._implicit.update(instances)

    def leave_out(self, task: int) -> None:
        """A task was not run, as it had been in the run that this one resumes."""
        self._carried.add(task)
        self._of -= task in self._listed or task in self._implicit

    def advance(self, outcome: list[str | None], now: float) -> list[Intent]:
        """Join what has finished, in order; give up on an entry whose time is over."""
        joins: list[Intent] = []
        while self._have_begun and self._next < len(self._order):
            task, timeout = self._order[self._next]
            if task in self._opened:
                instances = [(instance, timeout) for instance in self._opened[task]]
                self._order[self._next : self._next + 1] = instances
                self.deadline = None
                continue
            if outcome[task] is None:
                if not self._timed_out(timeout, now):
                    break
                if task in self._implicit:
                    self._order.append((task, None))
            elif not self._is_done_with(task) and outcome[task] not in _NEVER_RAN:
                self._joined.add(task)
                joins.append(Join(task=task, position=len(self._joined), of=self._of))
            self._next += 1
            self.deadline = None
        return joins

    def _is_done_with(self, task: int) -> bool:
        return task in self._joined or task in self._carried

    def _timed_out(self, timeout: float | None, now: float) -> bool:
        if timeout is None:
            return False
        if self.deadline is None:
            self.deadline = now + timeout
        return now >= self.deadline

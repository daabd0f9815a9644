"""The main process's walk through the join order; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import Instruction, Join
from mprun.scheduling.plan import PlannedJoin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.scheduling.plan import Plan


_NEVER_RAN = (Outcome.SKIPPED, Outcome.CANCELLED)

# Traits of a task: named in the join order, waited for in any case, and joined, or ended in an
# earlier run: there is nothing to collect any more.
_LISTED, _IMPLICIT, _DONE_WITH = 1, 2, 4


class JoinOrder:
    """Where the main process is on its way through the join order, in virtual or real time.

    As in a script, every start() comes before the first join(): it begins once it was told
    what there is to start at the beginning, and has started it.
    """

    def __init__(self, plan: Plan) -> None:
        # What is known of each task, a byte for each: of sets, 100,000 tasks would take 20 MB.
        self._traits = bytearray(0 if planned.task.daemon else _IMPLICIT for planned in plan.tasks)
        self._order = list(plan.join)
        for entry in self._order:
            self._traits[entry.task] |= _LISTED
        # multiprocessing waits at exit for every child that is no daemon.
        self._order += [
            PlannedJoin(task=task) for task, traits in enumerate(self._traits) if traits == _IMPLICIT
        ]
        self._of = len(self._order)
        self._next = self._joined = 0
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
        traits = self._traits
        traits += bytes(max(0, max(instances, default=0) + 1 - len(traits)))
        if traits[group]:
            self._of += len(instances) - 1
        for instance in instances:
            traits[instance] = traits[group] & _IMPLICIT
        traits[group] &= ~_IMPLICIT

    def leave_out(self, task: int) -> None:
        """A task was not run, as it had been in the run that this one resumes."""
        self._of -= self._traits[task] & (_LISTED | _IMPLICIT) != 0
        self._traits[task] |= _DONE_WITH

    def advance(self, outcome: list[str | None], now: float) -> list[Instruction]:
        """Join what has finished, in order; give up on an entry whose time is over."""
        joins: list[Instruction] = []
        while self._have_begun and self._next < len(self._order):
            entry = self._order[self._next]
            task = entry.task
            if task in self._opened:
                instances = [entry.replace(task=instance) for instance in self._opened[task]]
                self._order[self._next : self._next + 1] = instances
                self.deadline = None
                continue
            if outcome[task] is None:
                if not self._timed_out(entry.timeout, now):
                    break
                if self._traits[task] & _IMPLICIT:
                    self._order.append(PlannedJoin(task=task))
            elif not self._traits[task] & _DONE_WITH and outcome[task] not in _NEVER_RAN:
                self._traits[task] |= _DONE_WITH
                self._joined += 1
                joins.append(Join(task=task, position=self._joined, of=self._of))
            self._next += 1
            self.deadline = None
        return joins

    def _timed_out(self, timeout: float | None, now: float) -> bool:
        if timeout is None:
            return False
        if self.deadline is None:
            self.deadline = now + timeout
        return now >= self.deadline

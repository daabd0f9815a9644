"""Follows the join order: which finished task the main process joins next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.instructions import Instruction, Join
from mprun.scheduling.plan import PlannedJoin
from mprun.scheduling.task_run import NEVER_RAN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mprun.scheduling.plan import Plan


# So many instances of a group get an entry of their own at a time.
_INSTANCES_AT_ONCE = 1000

# Flags of a task: the join order lists it; it is joined in any case; nothing is left to collect,
# because it was joined, or because an earlier run has finished it.
_LISTED, _IMPLICIT, _COLLECTED = 1, 2, 4


class JoinOrder:
    """How far the main process is in the join order.

    As in a script, every start() comes before the first join(): joining begins once the tasks that
    start at the beginning are known, and have been started.
    """

    def __init__(self, plan: Plan) -> None:
        # The flags of each task, one byte per task: sets of 100,000 tasks would take 20 MB.
        self._flags = bytearray(0 if planned.task.daemon else _IMPLICIT for planned in plan.tasks)
        self._is_given = plan.job.join is not None
        self._order = list(plan.join)
        for entry in self._order:
            self._flags[entry.task] |= _LISTED
        # At exit multiprocessing waits for every child that is not a daemon.
        self._order += [
            PlannedJoin(task=task) for task, flags in enumerate(self._flags) if flags == _IMPLICIT
        ]
        self._of = len(self._order)
        self._next = self._joined = 0
        # The instances of groups that were expanded.
        self._expanded: dict[int, Sequence[int]] = {}
        # How many instances of the group that is next have an entry of their own.
        self._taken = 0
        self._to_start: set[int] = set()
        self._have_begun = False
        self.deadline: float | None = None

    @property
    def done(self) -> bool:
        """Whether the main process has joined everything."""
        return self._have_begun and self._next == len(self._order)

    def begin_after(self, tasks: Iterable[int]) -> None:
        """Begin once each of these tasks has been started, or will never be."""
        self._to_start = set(tasks)
        self._have_begun = not self._to_start

    def was_started(self, task: int) -> None:
        """A task has been started, or will never be."""
        if self._to_start:
            self._to_start.discard(task)
            self._have_begun = not self._to_start

    def expand(self, group: int, instances: Sequence[int], daemons: Collection[int] = ()) -> None:
        """A task turned out to be a group: its instances take its place in the order.

        Those that are `daemons` do so only if the file lists the group.
        """
        if daemons and not (self._is_given and self._flags[group] & _LISTED):
            instances = [instance for instance in instances if instance not in daemons]
        self._expanded[group] = instances
        flags = self._flags
        flags += bytes(max(0, max(instances, default=0) + 1 - len(flags)))
        if flags[group]:
            self._of += len(instances) - 1
        for instance in instances:
            flags[instance] = flags[group] & _IMPLICIT
        flags[group] &= ~_IMPLICIT

    def add(self, tasks: Sequence[int]) -> None:
        """Tasks were added to the run; they are joined last."""
        self._flags += bytes([_IMPLICIT]) * len(tasks)
        self._order += [PlannedJoin(task=task) for task in tasks]
        self._of += len(tasks)

    def leave_out(self, task: int) -> None:
        """A task does not run, because an earlier run has finished it."""
        self._of -= self._flags[task] & (_LISTED | _IMPLICIT) != 0
        self._flags[task] |= _COLLECTED

    def advance(self, outcomes: list[str | None], now: float) -> list[Instruction]:
        """Join finished tasks in order; continue without an entry whose timeout has passed."""
        joins: list[Instruction] = []
        while self._have_begun and self._next < len(self._order):
            entry = self._order[self._next]
            task = entry.task
            if task in self._expanded:
                self._take_instances(entry)
                self.deadline = None
                continue
            if outcomes[task] is None:
                if not self._timed_out(entry.timeout, now):
                    break
                if self._flags[task] & _IMPLICIT:
                    self._order.append(PlannedJoin(task=task))
            elif not self._flags[task] & _COLLECTED and outcomes[task] not in NEVER_RAN:
                self._flags[task] |= _COLLECTED
                self._joined += 1
                joins.append(Join(task=task, position=self._joined, of=self._of))
            self._next += 1
            self.deadline = None
        return joins

    def _take_instances(self, entry: PlannedJoin) -> None:
        """Put the first instances of a group in its place, and the group itself after them for the others."""
        instances, begin = self._expanded[entry.task], self._taken
        self._taken += _INSTANCES_AT_ONCE
        made = [
            PlannedJoin(task=instance, timeout=entry.timeout) for instance in instances[begin : self._taken]
        ]
        if self._taken < len(instances):
            made.append(entry)
        else:
            self._taken = 0
        self._order[self._next : self._next + 1] = made

    def _timed_out(self, timeout: float | None, now: float) -> bool:
        if timeout is None:
            return False
        if self.deadline is None:
            self.deadline = now + timeout
        return now >= self.deadline

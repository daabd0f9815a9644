"""Adds tasks during the run: instances in the place of their group, some at a time, and copies."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import Expand
from mprun.scheduling.task_run import FINISHED, WAITING, order_key
from mprun.scheduling.verdict import MET_BY, unmet_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.join_order import JoinOrder
    from mprun.scheduling.plan import PlannedTask
    from mprun.scheduling.task_run import Key, TaskRun
    from mprun.scheduling.task_runs import TaskRuns


class Expansions:
    """The groups of a run that are being expanded: one after the other, in the order in which they began.

    It is true while there are instances to be added, at most `max_added` in one decision.
    `instructions` gets an `Expand` for each part. The caller finishes those whose outcome is known.
    """

    def __init__(
        self, task_runs: TaskRuns, join_order: JoinOrder, instructions: list[Instruction], max_added: int
    ) -> None:
        self._task_runs = task_runs
        self._join_order = join_order
        self._instructions = instructions
        self._max_added = max_added
        self._groups: deque[GroupExpansion] = deque()

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def next_key(self) -> Key | None:
        """The key of the instance that is to be added next, in the order of the file; None if none is."""
        return self._groups[0].next_key if self._groups else None

    def begin(self, group: TaskRun, instances: Sequence[PlannedTask]) -> list[TaskRun]:
        """Put instances, at least one, in the place of a group; those that are added at once.

        They are none if the instances of another group are being added.
        """
        self._groups.append(GroupExpansion(self._task_runs, self._join_order, group, instances))
        return self.add_more() if len(self._groups) == 1 else []

    def add_more(self) -> list[TaskRun]:
        """Add the next instances of the group that is being expanded."""
        expansion = self._groups[0]
        instruction, added = expansion.add(self._max_added)
        self._instructions.append(instruction)
        if expansion.next_key is None:
            self._groups.popleft()
        return added


class GroupExpansion:
    """One group of a run whose list is known only now, and its instances, at least one.

    From the beginning its dependents wait for all of them.
    """

    def __init__(
        self, task_runs: TaskRuns, join_order: JoinOrder, group: TaskRun, instances: Sequence[PlannedTask]
    ) -> None:
        self._task_runs = task_runs
        self._group = group
        self._instances = instances
        self._added = 0
        group.expand()
        self._replace_conditions(group, instances)
        self._numbers = numbers = task_runs.expand(group, instances)
        # Its items may say that some of them are daemons.
        of_item = not group.task.daemon
        daemons = {n for n, one in zip(numbers, instances, strict=True) if one.task.daemon} if of_item else ()
        join_order.expand(group.number, numbers, daemons)

    @property
    def next_key(self) -> Key | None:
        """The key of the first instance that is to be added, in the order of the file; None if all are."""
        if self._added == len(self._instances):
            return None
        return order_key(self._group.position, self._numbers[self._added], None)

    def add(self, count: int) -> tuple[Expand, list[TaskRun]]:
        """Add the next instances; `released` gets those that wait for nothing."""
        begin = self._added
        part = self._instances[begin : begin + count]
        self._added += len(part)
        added = self._task_runs.add_instances(self._group, part)
        _await_dependencies(self._task_runs, {run.number: run.planned.needs for run in added if run.unmet})
        self._task_runs.released += [run for run in added if run.state is WAITING and not run.unmet]
        return Expand(task=self._group.number, first=self._numbers[begin], count=len(part)), added

    def _replace_conditions(self, group: TaskRun, instances: Sequence[PlannedTask]) -> None:
        """Let dependents wait for instances in place of their group: all, those they select, or none."""
        shared = instances[0].needed_by
        if all(instance.needed_by is shared for instance in instances):
            new = _count_dependents(shared, len(instances))
        else:
            new = _count_dependents(pair for instance in instances for pair in instance.needed_by)
        for after, before in _count_dependents(self._task_runs.dependents_of(group)).items():
            task_run, more = self._task_runs.all[after], new.get(after, 0) - before
            if more > 0 and task_run.state is WAITING:
                task_run.add_conditions(more)
            for _ in range(-more):
                self._task_runs.meet_condition(task_run)


def add_copies(task_runs: TaskRuns, join_order: JoinOrder, tasks: Sequence[PlannedTask]) -> list[TaskRun]:
    """Add tasks to the run that depend on each other, and on tasks that may have ended."""
    first = len(task_runs.all)
    added = task_runs.add(tasks)
    join_order.add([task_run.number for task_run in added])
    # What the others need is added with them.
    needs = {
        run.number: [need for need in run.planned.needs if need[0] < first] for run in added if run.unmet
    }
    _await_dependencies(task_runs, needs)
    task_runs.released += [run for run in added if run.state is WAITING and not run.unmet]
    return added


def _await_dependencies(task_runs: TaskRuns, needs: Mapping[int, Iterable[tuple[int, str]]]) -> None:
    """Make new tasks dependents of the tasks that they need, of which some may have finished."""
    added: dict[int, list[tuple[int, str]]] = {}
    for after, own in needs.items():
        for number, condition in own:
            added.setdefault(number, []).append((after, condition))
    for number, dependents in added.items():
        before = task_runs.all[number]
        task_runs.add_dependents(before, dependents)
        met = {condition for _, condition in dependents if before.was_announced(condition)}
        for after, condition in dependents:
            if condition in met:
                task_runs.all[after].meet_condition()
        if before.state is FINISHED:
            _announce_end(task_runs, before, [pair for pair in dependents if pair[1] not in met])


def _announce_end(task_runs: TaskRuns, before: TaskRun, dependents: Sequence[tuple[int, str]]) -> None:
    """Tell new dependents how a task ended, and skip those that can never start because of it."""
    for number, condition in dependents:
        after = task_runs.all[number]
        if after.state is not WAITING or task_runs.is_cancelled(after):
            continue
        if before.end(task_runs.outcomes[before.number]) in MET_BY[condition]:
            after.meet_condition()
        elif not (after.planned.reused or after.planned.skipped):
            reason = unmet_reason(before.planned.name, condition)
            task_runs.finish(after, Outcome.SKIPPED, reason)
            task_runs.announce_outcome(after)


def _count_dependents(needed_by: Iterable[tuple[int, str]], times: int = 1) -> dict[int, int]:
    """How many conditions each dependent has, if all of them count so many times."""
    counts: dict[int, int] = {}
    for after, _ in needed_by:
        counts[after] = counts.get(after, 0) + times
    return counts

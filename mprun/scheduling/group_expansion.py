"""Adds tasks during the run: instances in the place of their group, and copies, with their dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.task_run import FINISHED, WAITING
from mprun.scheduling.verdict import MET_BY, unmet_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mprun.scheduling.join_order import JoinOrder
    from mprun.scheduling.plan import PlannedTask
    from mprun.scheduling.task_run import TaskRun, TaskRuns


class GroupExpansion:
    """Expands groups of a run whose lists are known only now."""

    def __init__(self, task_runs: TaskRuns, join_order: JoinOrder) -> None:
        self._task_runs = task_runs
        self._join_order = join_order

    def expand(self, group: TaskRun, instances: Sequence[PlannedTask]) -> list[TaskRun]:
        """Put at least one instance in the place of a group; `released` gets those that wait for nothing."""
        group.expand()
        self._replace_conditions(group, instances)
        added = self._task_runs.add_instances(group, instances)
        self._await_dependencies({run.number: run.planned.needs for run in added if run.unmet})
        self._task_runs.released += [run for run in added if run.state is WAITING and not run.unmet]
        # Its items may say that some of them are daemons.
        of_item = not group.task.daemon
        daemons = {task_run.number for task_run in added if task_run.task.daemon} if of_item else ()
        self._join_order.expand(group.number, [task_run.number for task_run in added], daemons)
        return added

    def add(self, tasks: Sequence[PlannedTask]) -> list[TaskRun]:
        """Add tasks to the run that depend on each other, and on tasks that may have ended."""
        first = len(self._task_runs.all)
        added = self._task_runs.add(tasks)
        self._join_order.add([task_run.number for task_run in added])
        self._await_dependencies(
            {
                run.number: [need for need in run.planned.needs if need[0] < first]
                for run in added
                if run.unmet
            }
        )
        self._task_runs.released += [run for run in added if run.state is WAITING and not run.unmet]
        return added

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

    def _await_dependencies(self, needs: Mapping[int, Iterable[tuple[int, str]]]) -> None:
        """Make new tasks dependents of the tasks that they need, of which some may have finished."""
        added: dict[int, list[tuple[int, str]]] = {}
        for after, own in needs.items():
            for number, condition in own:
                added.setdefault(number, []).append((after, condition))
        for number, dependents in added.items():
            before = self._task_runs.all[number]
            self._task_runs.add_dependents(before, dependents)
            met = {condition for _, condition in dependents if before.was_announced(condition)}
            for after, condition in dependents:
                if condition in met:
                    self._task_runs.all[after].meet_condition()
            if before.state is FINISHED:
                self._announce_end(before, [pair for pair in dependents if pair[1] not in met])

    def _announce_end(self, before: TaskRun, dependents: Sequence[tuple[int, str]]) -> None:
        """Tell new dependents how a task ended, and skip those that can never start because of it."""
        for number, condition in dependents:
            after = self._task_runs.all[number]
            if after.state is not WAITING:
                continue
            if before.end(self._task_runs.outcomes[before.number]) in MET_BY[condition]:
                after.meet_condition()
            elif not (after.planned.reused or after.planned.skipped):
                reason = unmet_reason(before.planned.name, condition)
                self._task_runs.finish(after, Outcome.SKIPPED, reason)
                self._task_runs.announce_outcome(after)


def _count_dependents(needed_by: Iterable[tuple[int, str]], times: int = 1) -> dict[int, int]:
    """How many conditions each dependent has, if all of them count so many times."""
    counts: dict[int, int] = {}
    for after, _ in needed_by:
        counts[after] = counts.get(after, 0) + times
    return counts

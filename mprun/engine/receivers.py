"""Finds the tasks that refer to the result of a task, and says why they cannot receive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.references import ReferenceProblem, SiblingReference
from mprun.jobfile.resolution import Resolver
from mprun.jobfile.result_dependencies import result_references

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.references import Reference
    from mprun.record.results import ResultProblem
    from mprun.scheduling.plan import Plan, PlannedTask


def refusal(name: str, problem: ResultProblem, receivers: Sequence[str]) -> str:
    """Why these tasks cannot receive the result of a task."""
    first, *others = receivers
    more = f" and {len(others)} other task{'s' if len(others) > 1 else ''}" if others else ""
    return f"`{name}` returned {problem.what}, so `{first}`{more} cannot receive it; {problem.remedy}"


class Receivers:
    """The tasks of a plan that will run and refer to results; looked for when they are asked for first."""

    def __init__(self, plan: Plan, table: TaskTable) -> None:
        self._plan = plan
        self._table = table
        self._by_name: dict[str, dict[str, None]] = {}
        # How many tasks there were then: a reference may select an instance that was added since.
        self._count = 0

    def of(self, planned: PlannedTask) -> list[str]:
        """The names of the tasks that refer to the result of a task, or of a group that it is part of."""
        if self._count != len(self._table.tasks):
            self._count = len(self._table.tasks)
            self._by_name = self._noted()
        found: dict[str, None] = {}
        for name in (planned.name, *planned.groups):
            found |= self._by_name.get(name, {})
        return list(found)

    def _noted(self) -> dict[str, dict[str, None]]:
        by_name: dict[str, dict[str, None]] = {}
        for planned in self._plan.tasks:
            if planned.reused is None and not planned.skipped and planned.task.refers:
                for reference in result_references(planned.task, planned.values):
                    by_name.setdefault(self._giver(reference, planned), {})[planned.name] = None
        return by_name

    def _giver(self, reference: Reference, receiver: PlannedTask) -> str:
        """The name of the task, or of the group, whose result a reference is; of a sibling, that alone."""
        if not isinstance(reference, SiblingReference):
            return reference.name
        task = receiver.task
        try:
            selected = Resolver(task.scope, task.axes, receiver.values)(reference)
            return self._table.tasks[self._table.siblings.find(selected, receiver.name)].name
        except ReferenceProblem:
            # The receiver is a group, whose instances select; or there is no such instance.
            return reference.name

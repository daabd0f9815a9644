"""Finds the tasks that refer to the result of a task."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mprun.jobfile.task_builder import result_references

if TYPE_CHECKING:
    from mprun.scheduling.plan import Plan, PlannedTask


class Receivers:
    """The tasks of a plan that will run and refer to results; looked for when they are asked for first."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def of(self, planned: PlannedTask) -> list[str]:
        """The names of the tasks that refer to the result of a task, or of a group that it is part of."""
        found: dict[str, None] = {}
        for name in (planned.name, *planned.groups):
            found |= self._by_name.get(name, {})
        return list(found)

    @cached_property
    def _by_name(self) -> dict[str, dict[str, None]]:
        by_name: dict[str, dict[str, None]] = {}
        for planned in self._plan.tasks:
            if planned.reused is None and not planned.skipped and planned.task.refers:
                for reference in result_references(planned.task, planned.values):
                    by_name.setdefault(reference.name, {})[planned.name] = None
        return by_name

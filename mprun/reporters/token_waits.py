"""Which tasks have waited for nothing but tokens since the tasks that they need have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan, PlannedTask

# In a larger plan they are not looked for: it would take too long during a run.
MAX_TASKS = 2000


class TokenWaits:
    """Finds the tasks of a plan that wait for tokens; those that results add are not known to it."""

    def __init__(self, plan: Plan, run: RunState) -> None:
        self._run = run
        self._tasks = plan.tasks
        self._tokens = plan.job.resources
        few = plan.job.resources and len(plan.tasks) <= MAX_TASKS
        self._claimants = [one for one in plan.tasks if one.task.resources] if few else []

    def find(self) -> dict[str, list[str]]:
        """The tasks that wait, by the name of the tokens, in the order of the file."""
        if not self._claimants:
            return {}
        free, open_tasks = dict(self._tokens), []
        for planned in self._claimants:
            task = self._run.tasks.get(planned.name)
            if task is None or not (task.attempts or task.outcome):
                open_tasks.append(planned)
            elif task.is_running:
                for name, count in planned.task.resources.items():
                    free[name] -= count
        waiting: dict[str, list[str]] = {}
        for planned in open_tasks:
            lacking = [name for name, count in planned.task.resources.items() if free[name] < count]
            if lacking and not planned.skipped and self._has_what_it_needs(planned):
                waiting.setdefault(lacking[0], []).append(planned.name)
        return waiting

    def _has_what_it_needs(self, planned: PlannedTask) -> bool:
        return all(self._is_met(self._tasks[number].name, condition) for number, condition in planned.needs)

    def _is_met(self, name: str, condition: str) -> bool:
        task = self._run.tasks.get(name)
        if task is None:
            return False
        if condition == "started":
            return bool(task.attempts)
        if condition == "ready":
            return any(attempt.ready for attempt in task.attempts)
        return task.outcome is not None

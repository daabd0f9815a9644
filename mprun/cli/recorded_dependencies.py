"""What the tasks of a past run depended on: by its job file, if that has not changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.cli.recorded_plan import read_plan

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# A job file of more tasks takes too long to read again, and more dependencies too much of the page.
MAX_TASKS, MAX_DEPENDENCIES = 10_000, 50_000


def read_dependencies(state: RunState) -> tuple[dict[str, list[str]], str]:
    """By a task's name, the tasks that it depended on; else why they are unknown."""
    plan, why = read_plan(state, MAX_TASKS)
    if plan is None:
        return {}, why
    found = _expanded(state, plan)
    if sum(map(len, found.values())) > MAX_DEPENDENCIES:
        return {}, f"there are more than {MAX_DEPENDENCIES:,}"
    return found, ""


def _expanded(state: RunState, plan: Plan) -> dict[str, list[str]]:
    """The dependencies among the tasks that the run has had, where a task is replaced by its instances."""
    found = {}
    for planned in plan.tasks:
        needs = [name for need, _ in planned.needs for name in state.instances_of(plan.tasks[need].name)]
        for name in state.instances_of(planned.name):
            found[name] = needs
    return found

"""A plan as text, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.plan import start_order
from mprun.reporters.words import count, headline, span, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.job import Dependency
    from mprun.plan import Plan, PlannedTask

# An argument is shown with at most this many characters.
ARGUMENT_LIMIT = 60


def plan_lines(plan: Plan) -> Iterator[str]:
    """The lines of a plan: what it is, each task in the order of its start, the joins."""
    numbers = (len(plan.tasks), plan.mode, plan.at_once, plan.cpus)
    yield headline(plan.job.name, *numbers, plan.start_method)
    for place, number in enumerate(start_order(plan), start=1):
        yield f"{place:>4}. {_task_line(plan.tasks[number], plan)}"
    names = [visible(planned.task.name) for planned in plan.tasks]
    joins = [
        names[entry.task] + (f" ({span(entry.timeout)} at most)" if entry.timeout is not None else "")
        for entry in plan.join
    ]
    yield f"join: {', '.join(joins) or 'nothing'}"
    daemons = [visible(planned.task.name) for planned in plan.tasks if planned.task.daemon]
    if daemons:
        yield f"stopped at the end: {', '.join(reversed(daemons))}"


def _task_line(planned: PlannedTask, plan: Plan) -> str:
    task = planned.task
    arguments = [_shown(value) for value in task.args]
    arguments += [f"{name}={_shown(value)}" for name, value in task.kwargs.items()]
    notes = ["daemon"] if task.daemon else []
    if task.depends_on:
        notes.append(f"after {', '.join(map(_dependency, task.depends_on))}")
    if task.retry.retries:
        notes.append(count(task.retry.retries, "retry", "retries"))
    if task.timeout is not None:
        notes.append(f"timeout {span(task.timeout)}")
    if planned.start_method != plan.start_method:
        notes.append(planned.start_method)
    return visible(
        f"{task.name}  {task.target}({', '.join(arguments)})" + (f"  [{'; '.join(notes)}]" if notes else "")
    )


def _dependency(dependency: Dependency) -> str:
    condition = "" if dependency.condition == "succeeded" else f" {dependency.condition}"
    return f"{dependency.task}{condition}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= ARGUMENT_LIMIT else text[: ARGUMENT_LIMIT - 1] + "…"

"""Computes how long a stop takes at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.scheduling.stop_order import StopOrder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.scheduling.plan import Plan


class StopLimit(Frozen):
    """The seconds after which all tasks that are stopped together have ended, or are killed.

    With `has_steps` some are asked only after others have ended; `is_exact` means that all of them
    are killed after this time, and none before.
    """

    seconds: float
    has_steps: bool = False
    is_exact: bool = True


def stop_limit(plan: Plan, running: Iterable[int]) -> StopLimit:
    """The limit for these running tasks, by number: the sum of the graces along the longest path."""
    graces = {number: plan.tasks[number].task.stop.grace for number in running}
    order = StopOrder(graces, lambda number: [need for need, _ in plan.tasks[number].needs])
    return StopLimit(
        seconds=order.longest(graces.__getitem__),
        has_steps=order.has_steps,
        is_exact=not order.has_steps and len(set(graces.values())) < 2,
    )


def stop_limit_by_name(plan: Plan, running: Iterable[str]) -> StopLimit:
    """The same by name: an instance of a `foreach` over a result, `fetch[0]`, counts as its group.

    A copy that was added during the run counts as the first copy of its task.
    """
    numbers = {planned.name: number for number, planned in enumerate(plan.tasks)}
    if plan.repetition is not None:
        for number, planned in enumerate(plan.tasks):
            numbers.setdefault(planned.name.rpartition("@")[0] if planned.copy else planned.name, number)
    found = (next((numbers[one] for one in _known_as(name) if one in numbers), None) for name in running)
    return stop_limit(plan, [number for number in found if number is not None])


def _known_as(name: str) -> tuple[str, ...]:
    """The names that a task may have in the plan: its own, and those of its group and of its first copy."""
    group, task = name.rpartition("[")[0], name.rpartition("@")[0]
    return name, group, task, task.rpartition("[")[0]

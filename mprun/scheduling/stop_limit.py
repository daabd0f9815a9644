"""Computes how long a stop takes at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.scheduling.termination import StopOrder

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
    """The same by name: an instance of a `foreach` over a result, `fetch[0]`, counts as its group."""
    numbers = {planned.name: number for number, planned in enumerate(plan.tasks)}
    found = (numbers.get(name, numbers.get(name.rpartition("[")[0])) for name in running)
    return stop_limit(plan, [number for number in found if number is not None])

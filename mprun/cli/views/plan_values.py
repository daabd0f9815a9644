"""What a plan knows of its values and its order before the run, as it may be shown: no secret is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.references import HIDDEN, ReferenceProblem, Resolver, resolve, shown
from mprun.scheduling.plan import start_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask


def known(planned: PlannedTask) -> Callable[[Any], Any]:
    """What resolves a node of a task as far as that can be done now; the rest stays references."""
    task = planned.task
    lookup = Resolver(task.scope, task.axes, planned.values)

    def resolved(node: Any) -> Any:
        try:
            return resolve(node, lookup)
        except ReferenceProblem:
            # A path that leads nowhere is for the checks to tell; here it is what the file says.
            return node

    return resolved


def starts(plan: Plan, forecast: Forecast | None) -> Sequence[int]:
    """The tasks in the order of their start, by place: as expected, else as the file has it."""
    return start_order(plan) if forecast is None or forecast.order is None else forecast.order


def params(plan: Plan) -> dict[str, Any]:
    """The values of the job's params, and `***` for those that are secret."""
    found = {name: shown(value) for name, value in plan.job.params.items()}
    for planned in plan.tasks:
        # A recipe's are its own.
        if planned.task.document is plan.job.origin.document:
            found.update(dict.fromkeys(sorted(planned.task.scope.secrets), HIDDEN))
            break
    return found

"""The values and the order of a plan, as far as they are known before the run, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import SiblingDependency
from mprun.jobfile.references import ReferenceProblem
from mprun.jobfile.resolution import HIDDEN, Resolver, resolve, shown
from mprun.scheduling.plan import start_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.jobfile.model import Dependency
    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask


def resolver(planned: PlannedTask) -> Callable[[Any], Any]:
    """A function that resolves the references in a value of a task, except those to results."""
    task = planned.task
    if not task.refers:
        return _as_it_is
    found = Resolver(task.scope, task.axes, planned.values)

    def resolved(node: Any) -> Any:
        try:
            return resolve(node, found)
        except ReferenceProblem:
            # The checks report a path that does not exist; here it stays as in the file.
            return node

    return resolved


def _as_it_is(node: Any) -> Any:
    return node


def beginning(value: Any, width: int) -> Any:
    """What is shown of a value in so many characters: its first nodes, and a little more.

    Many tasks may refer to one long list, and the rest of it would be cut off.
    """
    return _beginning(value, width, iter(range(width + 1)))


def _beginning(value: Any, width: int, room: Iterator[int]) -> Any:
    if isinstance(value, str):
        return value[: width + 1]
    # The room is asked last, so that the end of a value takes none.
    if isinstance(value, dict):
        items = zip(value.items(), room, strict=False)
        return {key: _beginning(child, width, room) for (key, child), _ in items}
    if isinstance(value, (list, tuple)):
        return [_beginning(child, width, room) for child, _ in zip(value, room, strict=False)]
    return value


def dependency_name(dependency: Dependency, planned: PlannedTask, plan: Plan) -> str:
    """The task that a dependency names; the instance that it selects, if it is known and only one is.

    The name of a copy has its number. A service has none: it runs once, for all copies.
    """
    tasks = [plan.tasks[needed] for needed, _ in planned.needs]
    needed_tasks = [task for task in tasks if dependency.task in task.groups]
    if not isinstance(dependency, SiblingDependency):
        is_copied = any(task.copy for task in needed_tasks)
        return f"{dependency.task}@{planned.copy}" if is_copied else dependency.task
    names = [task.name for task in needed_tasks]
    if len(names) == 1:
        return names[0]
    # The brackets are those of the reference, whose name lacks the prefix of a recipe.
    selector = resolver(planned)(dependency.reference).text.partition("[")[2].rpartition("].result")[0]
    return f"{dependency.task}[{selector}]"


def starting_order(plan: Plan, forecast: Forecast | None) -> Sequence[int]:
    """The numbers of the tasks in the order of their start: by the forecast, else as in the file."""
    return start_order(plan) if forecast is None or forecast.order is None else forecast.order


def params(plan: Plan) -> dict[str, Any]:
    """The values of the job's params, with `***` for secret ones."""
    found = {name: shown(value) for name, value in plan.job.params.items()}
    for planned in plan.tasks:
        # A recipe has its own secrets.
        if planned.task.document is plan.job.origin.document:
            found.update(dict.fromkeys(sorted(planned.task.scope.secrets), HIDDEN))
            break
    return found

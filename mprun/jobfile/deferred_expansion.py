"""The task in place of instances that are known only during the run, and what these are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError
from mprun.frozen import Frozen
from mprun.jobfile.instance_references import axes_of, instance_references
from mprun.jobfile.model import READY_KINDS, Ready
from mprun.jobfile.references import ReferenceProblem, reference_diagnostic
from mprun.jobfile.task_builder import FileContext, build_task, mark_of_key

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Task


class DeferredExpansion(Frozen):
    """What the instances of a task are built from once its list is known, during the run."""

    context: FileContext
    number: int
    keys: dict[str, Any]


def deferred_task(
    context: FileContext, number: int, keys: dict[str, Any], early: dict[str, Any], late_list: str
) -> Task:
    """Task `number` (from 0) of a file, until its instances are known.

    `keys` are its own, merged with the defaults, and `early` those that depend on the instance and are
    needed before it starts; `late_list` is the key that is known only during the run. Raises JobFileError.
    """
    if "depends_on" in early:
        raise JobFileError([_late_dependency(context, number, early["depends_on"])])
    axes = ("item",) if late_list == "foreach" else tuple(axes_of(keys["matrix"]))
    known = {key: node for key, node in keys.items() if key not in early}
    task = build_task(context, number, known, axes, late_list)
    task = task.replace(deferred_expansion=DeferredExpansion(context=context, number=number, keys=keys))
    if "ready" in early:
        task = task.replace(ready=_some_ready(early["ready"]))
    if "host" in early:
        from mprun.jobfile.host_needs import some_needs

        task = task.replace(host=some_needs(early["host"]))
    return task


def _late_dependency(context: FileContext, number: int, node: Any) -> Diagnostic:
    document = context.document
    raw: Any = document.root
    holder = ("tasks", number) if "depends_on" in raw["tasks"][number] else ("defaults",)
    mark = mark_of_key(document, number, "depends_on")
    reference = next(instance_references(node, document.source, mark))
    message = f"`{reference}` is not available here: its list is only known while the run is in progress"
    error = ReferenceProblem(message, reference)
    return reference_diagnostic(document, (*holder, "depends_on"), error)


def _some_ready(node: Any) -> Ready:
    """A probe in place of that of the instances, which is not known yet."""
    kinds = [kind for kind in READY_KINDS if isinstance(node, dict) and kind in node]
    return Ready(kind=kinds[0], what=str(node[kinds[0]])) if kinds else Ready(kind="file", what=str(node))

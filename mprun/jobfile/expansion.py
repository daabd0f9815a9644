"""Each task of a file -> its instances, and how many tasks a file has at least."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.jobfile.model import Instance
from mprun.jobfile.syntax.document import span_of
from mprun.jobfile.task_builder import build_task, merged
from mprun.jobfile.task_checks import task_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.errors import TooManyTasks
    from mprun.jobfile.syntax.document import Document
    from mprun.jobfile.task_builder import FileContext


def expand(context: FileContext, number: int, keys: dict[str, Any]) -> list[Instance]:
    """The instances of task `number` (from 0) of a file; `keys` are its own, merged with the defaults.

    Raises JobFileError if a combination gives an invalid value for a key, TooManyTasks if
    there are more tasks than a job may have.
    """
    is_one = keys.get("matrix") is None and keys.get("foreach") is None
    if is_one and not context.has_references and not context.unknown:
        task = build_task(context, number, keys)
        return [Instance(name=task.name, groups=context.inherited.groups, task=task)]
    # It is a large module, and many jobs have no references.
    from mprun.jobfile.expander import Expander

    return Expander(context, number, keys).instances()


def least_counts(
    document: Document, of_recipe: Callable[[str], tuple[int, int, int]]
) -> tuple[int, int, int]:
    """The least numbers of tasks, of uses of recipes and of dependencies, before any of them is made.

    `of_recipe` returns the same numbers for a recipe, by its name in the document.
    """
    raw: Any = document.root
    total = uses = needs = 0
    # How many tasks a name means, and how many have a dependency on it.
    sizes: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for number in range(len(raw["tasks"])):
        keys = merged(raw, number)
        of_each = of_recipe(keys["uses"]) if "uses" in keys else (1, -1, 0)
        instances = _least_instances(keys.get("matrix"), keys.get("foreach"))
        total += of_each[0] * instances
        uses += (of_each[1] + 1) * instances
        needs += of_each[2] * instances
        sizes[task_name(raw["tasks"][number], number)] = of_each[0] * instances
        given = keys.get("depends_on") or ()
        for name in (given,) if isinstance(given, str) else given:
            waiting[name] = waiting.get(name, 0) + of_each[0] * instances
    needs += sum(count * sizes.get(name, 0) for name, count in waiting.items())
    return total, uses, needs


def _least_instances(matrix: Any, foreach: Any) -> int:
    if isinstance(foreach, list):
        return len(foreach)
    if not isinstance(matrix, dict) or not matrix.keys().isdisjoint(("include", "exclude")):
        return 1
    # Few tasks have one.
    from math import prod

    # The same value twice counts once, and the length of a reference is unknown.
    return prod(len(set(map(repr, axis))) if isinstance(axis, list) else 1 for axis in matrix.values())


def too_many(task_path: tuple[str | int, ...], document: Any, error: TooManyTasks) -> Diagnostic:
    """The diagnostic of a task or matrix that expands to too many tasks."""
    span = span_of(document, task_path, key=True)
    return Diagnostic(message=str(error), source=document.source, span=span, help="split the job")

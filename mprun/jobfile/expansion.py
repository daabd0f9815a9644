"""Each task of a file -> its instances, and how many tasks a file has at least."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.jobfile.model import Instance
from mprun.jobfile.syntax.document import span_of
from mprun.jobfile.task_builder import build_task, merged

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


def least_counts(document: Document, of_recipe: Callable[[str], tuple[int, int]]) -> tuple[int, int]:
    """The least numbers of tasks and of uses of recipes of a document, before any of them is made.

    `of_recipe` returns the same numbers for a recipe, by its name in the document.
    """
    raw: Any = document.root
    count = uses = 0
    for number in range(len(raw["tasks"])):
        keys = merged(raw, number)
        each, uses_of_each = of_recipe(keys["uses"]) if "uses" in keys else (1, -1)
        instances = _least_instances(keys.get("matrix"), keys.get("foreach"))
        count += each * instances
        uses += (uses_of_each + 1) * instances
    return count, uses


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

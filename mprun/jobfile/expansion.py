"""Each task of a file -> its instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.jobfile.model import Instance
from mprun.jobfile.syntax.document import span_of
from mprun.jobfile.task_builder import build_task

if TYPE_CHECKING:
    from mprun.errors import TooManyTasks
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


def too_many(task_path: tuple[str | int, ...], document: Any, error: TooManyTasks) -> Diagnostic:
    """The diagnostic of a task or matrix that expands to too many tasks."""
    span = span_of(document, task_path, key=True)
    return Diagnostic(message=str(error), source=document.source, span=span, help="split the job")

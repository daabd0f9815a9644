"""Finds paths that begin with `~`, which a shell expands and mprun does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.jobfile.syntax.document import Mapping, Sequence, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.syntax.document import Document

_JOB_KEYS = ("cwd", "env_file", "pythonpath")
_TASK_KEYS = ("cwd", "uses")


def home_path_diagnostics(document: Document) -> Iterator[Diagnostic]:
    """An error for each such path; takes any tree."""
    for path, text in _paths(document.root):
        if isinstance(text, str) and (text == "~" or text.startswith("~/")):
            message = f"{quote(text)} is not expanded to the home directory"
            help = (
                f"write {quote('${env.HOME}' + text[1:60])}, or {quote('./' + text[:60])} for a directory `~`"
            )
            span = span_of(document, path)
            yield Diagnostic(message=message, source=document.source, span=span, help=help)


def _paths(root: Any) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """The values of all keys that name a file or a directory, each with its place."""
    yield from _under((), root, _JOB_KEYS)
    if not isinstance(root, Mapping):
        return
    tasks = root.get("tasks")
    yield from _of_task(("defaults",), root.get("defaults"))
    for number, task in enumerate(tasks if isinstance(tasks, Sequence) else ()):
        yield from _of_task(("tasks", number), task)


def _of_task(path: tuple[str | int, ...], task: Any) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield from _under(path, task, _TASK_KEYS)
    if isinstance(task, Mapping):
        yield from _under((*path, "ready"), task.get("ready"), ("file",))


def _under(
    path: tuple[str | int, ...], holder: Any, keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str | int, ...], object]]:
    for key in keys if isinstance(holder, Mapping) else ():
        value = holder.get(key)
        if isinstance(value, Sequence):
            yield from (((*path, key, number), item) for number, item in enumerate(value))
        else:
            yield (*path, key), value

"""What can be checked of a job file that violates its schema elsewhere, so that all errors come at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError
from mprun.jobfile.job_checks import unknown_token_help
from mprun.jobfile.schema import job_schema
from mprun.jobfile.scope import resolve_scope
from mprun.jobfile.syntax.document import Mapping, Sequence, span_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping as AnyMapping

    from mprun.jobfile.syntax.document import Document

# No one would read more.
MAX_DIAGNOSTICS = 100


def declaration_diagnostics(document: Document, environment: AnyMapping[str, str]) -> list[Diagnostic]:
    """The errors in the declarations of params, if these conform to the schema."""
    root: Any = document.root
    params = root.get("params") if isinstance(root, Mapping) else None
    if not isinstance(params, Mapping) or not job_schema.is_valid(("params",), params):
        return []
    # Of the file nothing else is looked at, so nothing else may be wrong.
    alone = Mapping(params=params)
    alone.marks = list(root.marks_of("params"))
    errors: list[Diagnostic] = []
    try:
        resolve_scope(document.with_root(alone), {}, environment, lenient=True, errors=errors)
    except JobFileError as error:
        errors += error.diagnostics
    return errors


def unknown_tokens(document: Document) -> list[Diagnostic]:
    """The tokens that tasks claim and the job does not have; none if recipes may add some."""
    if "resources" not in document.source.lines.text:
        # Most jobs have none, and there may be many tasks.
        return []
    root: Any = document.root
    tasks = root.get("tasks") if isinstance(root, Mapping) else None
    if not isinstance(tasks, Sequence) or any("uses" in task for task in tasks if isinstance(task, Mapping)):
        return []
    tokens = root.get("resources")
    known = tokens if isinstance(tokens, Mapping) else {}
    found: list[Diagnostic] = []
    for path, token in _claims(root, tasks):
        if token not in known and len(found) < MAX_DIAGNOSTICS:
            span = span_of(document, (*path, token), key=True)
            message, help = f"unknown token {quote(token)}", unknown_token_help(token, known)
            found.append(Diagnostic(message=message, source=document.source, span=span, help=help))
    return found


def _claims(root: Any, tasks: Sequence) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The tokens that the defaults and the tasks claim, each with the path of its mapping."""
    holders = [(("defaults",), root.get("defaults")), *((("tasks", n), task) for n, task in enumerate(tasks))]
    for path, holder in holders:
        claimed = holder.get("resources") if isinstance(holder, Mapping) else None
        for token in claimed if isinstance(claimed, Mapping) else ():
            if isinstance(token, str) and "${" not in token:
                yield (*path, "resources"), token

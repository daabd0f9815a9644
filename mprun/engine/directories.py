"""The directories of a job, and that of this process, that are not there; only a dry run looks for all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError, UsageError
from mprun.jobfile import locate
from mprun.jobfile.references import references
from mprun.jobfile.resolution import Resolver, as_text, resolve
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.scheduling.plan import Plan, PlannedTask

# No one would read more.
MAX_DIAGNOSTICS = 100


def require_working_directory() -> None:
    """Raise UsageError if the working directory of this process was removed, or cannot be reached."""
    try:
        os.getcwd()
    except OSError:
        raise UsageError(
            "the working directory was removed or cannot be reached; change to another one with `cd`"
        ) from None


def check_directories(plan: Plan, warn: Callable[[str], None]) -> None:
    """Warn of a `cwd` or `pythonpath` that may be missing. Raises JobFileError if a task could not start.

    A task that depends on others may find a directory that they make, so that is a warning.
    """
    errors: dict[tuple[str, int, int, str], Diagnostic] = {}
    warnings: dict[str, None] = {}
    for path in plan.job.pythonpath:
        if not os.path.isdir(path):
            warnings[f"`pythonpath`: {_what_is_wrong(path)}"] = None
    for planned in plan.tasks:
        cwd = _cwd(planned) if planned.task.cwd and not planned.skipped else None
        if cwd is None or os.path.isdir(cwd):
            continue
        diagnostic = _diagnostic(planned, cwd)
        if planned.needs:
            warnings[f"{diagnostic}, unless another task makes it"] = None
        elif len(errors) < MAX_DIAGNOSTICS:
            errors[diagnostic.sort_key()] = diagnostic
    for text in list(warnings)[:MAX_DIAGNOSTICS]:
        warn(text)
    if errors:
        raise JobFileError(list(errors.values()))


def _cwd(planned: PlannedTask) -> str | None:
    """The working directory of a task; None if it is known only during the run."""
    task = planned.task
    value = resolve(task.cwd, Resolver(task.scope, task.axes, planned.values, reveal=True))
    if next(references([value]), None) is not None:
        return None
    folder = os.path.dirname(os.path.abspath(task.document.source.path))
    return os.path.normpath(os.path.join(folder, as_text(value)))


def _diagnostic(planned: PlannedTask, path: str) -> Diagnostic:
    task = planned.task
    message = f"`cwd` of task {quote(planned.name)}: {_what_is_wrong(path)}"
    help = "`~` is not replaced; write `${env.HOME}`" if "~" in path else ""
    root: Any = task.document.root
    own, defaults = root["tasks"][task.position - 1], root.get("defaults") or {}
    if "cwd" in own or "cwd" in defaults or "cwd" not in root:
        return locate.task_diagnostic(task, ("cwd",), message, help)
    span = span_of(task.document, ("cwd",))
    return Diagnostic(message=message, source=task.document.source, span=span, help=help)


def _what_is_wrong(path: str) -> str:
    return f"{quote(path)} is not a directory" if os.path.exists(path) else f"no directory {quote(path)}"

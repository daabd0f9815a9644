"""What the preflight has found: the diagnostics of targets that cannot be used, and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine import preflight
from mprun.jobfile import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.diagnostics import Diagnostic
    from mprun.executors.base import PrepareReply
    from mprun.scheduling.plan import Plan

_IMPORT_STARTED_THREAD = (
    "importing `{}` started a thread; forking a process with threads can deadlock: use `start_method: spawn`"
)
_NO_PROC = (
    "/proc is not mounted: processes that leave the session of their task are not found when it ends, no "
    "command can be run, and what a killed run leaves is not found; mount it (`mount -t proc proc /proc`)"
)
_REFUSED = (
    "this system refuses `{}`, as a seccomp filter of a container may; mprun signals processes by their pids "
    "instead, after it has looked in /proc that they still have the same start time"
)


def warnings(plan: Plan, prepared: PrepareReply) -> Iterator[str]:
    """What the launcher was refused, and what its imports do to tasks."""
    if "/proc" in prepared.refused:
        yield _NO_PROC
    if calls := [name for name in prepared.refused if name != "/proc"]:
        yield _REFUSED.format(calls[0])
    for module in prepared.threads:
        yield _IMPORT_STARTED_THREAD.format(module)
    if plan.job.recipe_env:
        yield from preflight.import_env_warnings(plan)


def import_diagnostic(plan: Plan, number: int, message: str) -> Diagnostic:
    """The diagnostic of a module whose import has failed: see `mprun.executors.base.Importing`."""
    if number < 0:
        return locate.preload_diagnostic(plan.job, -1 - number, message)
    return locate.target_diagnostic(preflight.distinct_calls(plan)[number][1][0], message)


def bind_diagnostics(plan: Plan, prepared: PrepareReply) -> list[Diagnostic]:
    """A diagnostic for each target or preloaded module that the launcher could not use."""
    calls = preflight.distinct_calls(plan)
    diagnostics = []
    for error in prepared.errors:
        described = (error.message, error.where, error.word, error.candidates)
        if error.number < 0:
            index = -1 - error.number
            diagnostics.append(
                locate.preload_diagnostic(plan.job, index, error.message, error.word, error.candidates)
            )
        else:
            tasks = calls[error.number][1]
            diagnostics += [locate.target_diagnostic(task, *described) for task in tasks]
    return diagnostics

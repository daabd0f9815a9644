"""What the preflight has found: the diagnostics of targets that cannot be used, and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.engine import preflight
from mprun.errors import JobFileError, LauncherError, MprunError, UsageError
from mprun.jobfile import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.diagnostics import Diagnostic
    from mprun.executors.base import PrepareReply
    from mprun.jobfile.model import Task
    from mprun.scheduling.plan import Plan

# So many other tasks with the same error are named.
_MAX_NAMES = 5

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
        yield from import_env_warnings(plan)


def failure(plan: Plan, timeout: float, how: str, importing: int | None) -> MprunError:
    """Why there is no reply: how the executor was lost, or "" for `how` if it took too long.

    `importing` is the number of the import that had begun, None if there was none.
    """
    if importing is None:
        return LauncherError(
            f"the main process ended before it imported anything: {how}"
            if how
            else f"the main process took longer than {timeout:g}s to start (`--import-timeout`)"
        )
    ended = f"terminated the main process ({how})"
    reason = ended if how else f"takes longer than {timeout:g}s (`--import-timeout`)"
    message = f"importing `{preflight.module_of(plan, importing)}` {reason}"
    return JobFileError([import_diagnostic(plan, importing, message)])


def import_diagnostic(plan: Plan, number: int, message: str) -> Diagnostic:
    """The diagnostic of a module whose import has failed: see `mprun.executors.base.Importing`."""
    if number < 0:
        return locate.preload_diagnostic(plan.job, -1 - number, message)
    return locate.target_diagnostic(preflight.distinct_calls(plan)[number][1][0], message)


def refusal(plan: Plan, prepared: PrepareReply) -> UsageError:
    """Why nothing is started: targets that cannot be used, or hosts that do not have the same code."""
    if prepared.errors:
        return JobFileError(bind_diagnostics(plan, prepared))
    return UsageError(
        "\n  ".join(("the hosts differ from this machine, or from each other:", *prepared.differences))
    )


def bind_diagnostics(plan: Plan, prepared: PrepareReply) -> list[Diagnostic]:
    """A diagnostic for each target or preloaded module that the launcher could not use.

    What is wrong with a module is said once, at the first task, with the names of the others.
    """
    calls = preflight.distinct_calls(plan)
    # By what is wrong, in the order of the errors: the entries of `preload`, or the tasks.
    found: dict[tuple[Any, ...], list[Any]] = {}
    for error in prepared.errors:
        described = (error.message, error.where, error.word, error.candidates)
        # Errors of a call have to be mended in each task, those of an import in one place.
        is_of_module = error.where == ("target", "module") or error.message.startswith("importing ")
        key = (described, None if is_of_module and error.number >= 0 else error.number)
        found.setdefault(key, []).extend([error.number] if error.number < 0 else calls[error.number][1])
    diagnostics = []
    for ((message, where, word, candidates), number), holders in found.items():
        if number is None:
            message += _also(holders[1:])
            diagnostics.append(locate.target_diagnostic(holders[0], message, where, word, candidates))
        elif number < 0:
            diagnostics.append(locate.preload_diagnostic(plan.job, -1 - number, message, word, candidates))
        else:
            diagnostics += [
                locate.target_diagnostic(task, message, where, word, candidates) for task in holders
            ]
    return diagnostics


def _also(tasks: list[Task]) -> str:
    """Which other tasks have the same error; empty if none has."""
    names = [quote(name) for name in dict.fromkeys(task.name for task in tasks)]
    if not names:
        return ""
    shown = ", ".join(names[:_MAX_NAMES]) + (
        f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    )
    return f"; also task{'s' if len(names) > 1 else ''} {shown}"


def import_env_warnings(plan: Plan) -> Iterator[str]:
    """A warning for each recipe whose modules see other variables at their import than its tasks do.

    A spawned task imports its module itself, and has its own variables by then.
    """
    imported = {
        planned.task.document.source.path
        for planned in plan.tasks
        if planned.task.target is not None and planned.start_method != "spawn"
    }
    job_env = preflight.env_texts(plan.job.env)
    for path, env in plan.job.recipe_env.items():
        names = [f"`{name}`" for name, text in preflight.env_texts(env).items() if job_env.get(name) != text]
        if names and path in imported:
            yield _OTHER_ENV.format(path, ", ".join(names))


_OTHER_ENV = (
    "the `env` of {} sets {}; while its modules are imported, the `env` of the job applies, not that of the "
    "recipe: read the variables in the target, or use `start_method: spawn`"
)

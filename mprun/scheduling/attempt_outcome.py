"""Decides the outcome of an attempt that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import LOG_LIMIT, NOT_READY, TIMEOUT

if TYPE_CHECKING:
    from mprun.scheduling.retry import AttemptResult
    from mprun.scheduling.task_run import TaskRun


def outcome_of(task_run: TaskRun, result: AttemptResult, now: float) -> tuple[str, str]:
    """The outcome of an attempt, and the reason; `now` is when it ended.

    An attempt that ended within its timeout has not timed out, even if it was asked to end for that.
    One that succeeded before it heard that it has to end was not stopped either. One that ended
    before it was ready has not succeeded, whatever its exit code.

    If `exit_code_decides`, an exit that proves success by `mprun.launcher.channel.attempt_succeeded`
    is a success here too, so that rule is all that the launcher needs to start dependents.
    """
    if result.lost_output:
        # Also if it was asked to end: what it has written cannot be read.
        return Outcome.FAILED, result.reason
    stopped, started = task_run.stop_reason, task_run.started_at
    timeout, ready = task_run.task.timeout, task_run.task.ready
    if stopped == LOG_LIMIT:
        return Outcome.FAILED, "log limit"
    if stopped == TIMEOUT and timeout is not None and now >= started + timeout:
        return Outcome.TIMED_OUT, f"timeout after {timeout:g}s"
    if stopped == NOT_READY and ready is not None and now >= started + ready.timeout:
        return Outcome.FAILED, _with_last_probe("not ready", result)
    served = ready is None or task_run.is_ready
    unheard = result.succeeded and served and not result.asked
    if stopped is not None and stopped not in (TIMEOUT, NOT_READY) and not unheard:
        return Outcome.STOPPED, stopped
    if result.succeeded and not served:
        return Outcome.FAILED, never_ready_reason(result)
    return (Outcome.SUCCEEDED, "") if result.succeeded else (Outcome.FAILED, result.reason)


def exit_code_decides(task_run: TaskRun) -> bool:
    """Whether `mprun.launcher.channel.attempt_succeeded` is enough to tell that the attempt succeeded.

    It is not if anything but the exit may make the attempt fail, or if the attempt was asked to end.
    """
    task = task_run.task
    watched = task.ready is not None or (task.limits is not None and task.limits.log is not None)
    judged = task.expect is not None or task.capture is not None
    # Its dependents wait until its files are hashed.
    return (
        not judged
        and not task.is_compared
        and not watched
        and not task.daemon
        and task_run.stop_reason is None
    )


def never_ready_reason(result: AttemptResult) -> str:
    """The reason of a task that ended before it was ready; `result` is its last attempt."""
    return _with_last_probe(f"not ready, {result.reason or f'exit {result.exit_code}'}", result)


def _with_last_probe(reason: str, result: AttemptResult) -> str:
    return f"{reason}: {result.unready}" if result.unready else reason

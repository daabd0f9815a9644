"""Why and how an attempt is asked to end, and what its end then means; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import CancelStart, Instruction, Signal
from mprun.scheduling.task_run import HELD, RUNNING, STARTING
from mprun.scheduling.timers import KILL

if TYPE_CHECKING:
    from mprun.scheduling.retry import AttemptResult
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.timers import Timers

KILL_SIGNAL = "SIGKILL"

# Why a task is stopped.
RUN_FINISHED = "run_finished"
TIMEOUT = "timeout"
NOT_READY = "not_ready"
LOG_LIMIT = "log_limit"
FAIL_FAST = "fail_fast"
RUN_TIMES_OUT = "run_timeout"
USER = "user"
RECORD_WRITE_FAILED = "record_write_failed"

# These say that a task hangs; where, the stacks of its threads say.
_HANGS = (TIMEOUT, NOT_READY, RUN_TIMES_OUT)


class Termination:
    """Asks attempts to end: the first reason counts, and only a kill goes after it."""

    def __init__(self, instructions: list[Instruction], timers: Timers) -> None:
        self._instructions = instructions
        self._timers = timers
        # What is to end, but has no process yet, is killed as soon as it has one.
        self.killing = False

    def ask_to_end(self, course: TaskRun, reason: str, now: float, *, kill: bool = False) -> None:
        """Ask an attempt to end, if there is one: by a signal, or by a word before it starts."""
        if course.state not in (HELD, STARTING, RUNNING):
            return
        first = course.stop_reason is None
        if first:
            course.stop_reason = reason
        if course.state != RUNNING and first:
            self._instructions.append(CancelStart(task=course.number, attempt=course.attempts))
        if course.state == RUNNING and kill:
            self.kill(course, reason)
        elif course.state == RUNNING and first:
            self._stop(course, reason, now)

    def repeat(self, course: TaskRun, reason: str, now: float) -> None:
        """Ask again what was asked before there was a process to send a signal to."""
        if self.killing:
            self.kill(course, reason)
        else:
            self._stop(course, reason, now)

    def kill(self, course: TaskRun, reason: str) -> None:
        """Leave it no choice."""
        self._send(course, KILL_SIGNAL, reason)

    def _stop(self, course: TaskRun, reason: str, now: float) -> None:
        stop = course.task.stop
        self._timers.set(now + stop.grace, KILL, course.number, course.attempts)
        self._send(course, stop.signal, reason, dump=reason in _HANGS)

    def _send(self, course: TaskRun, signal: str, reason: str, *, dump: bool = False) -> None:
        task, attempt = course.number, course.attempts
        self._instructions.append(Signal(task=task, attempt=attempt, signal=signal, reason=reason, dump=dump))


def outcome_of(course: TaskRun, ending: AttemptResult, now: float) -> tuple[str, str]:
    """The outcome of an attempt that has ended, and the reason.

    If `exit_code_decides`, an exit that proves success by `mprun.launcher.channel.attempt_succeeded`
    is a success here too, so the launcher can start dependents by that rule alone.

    What ended before its time was over was not stopped for that, though nobody had noticed; and
    what succeeded before it heard that it was to end was not stopped at all.
    """
    stopped, started = course.stop_reason, course.started_at
    limit, ready = course.task.timeout, course.task.ready
    if stopped == LOG_LIMIT:
        return Outcome.FAILED, "log limit"
    if stopped == TIMEOUT and limit is not None and now >= started + limit:
        return Outcome.TIMED_OUT, f"timeout after {limit:g}s"
    if stopped == NOT_READY and ready is not None and now >= started + ready.timeout:
        return Outcome.FAILED, _not_ready("not ready", ending)
    unheard = ending.succeeded and not ending.asked
    if stopped is not None and stopped not in (TIMEOUT, NOT_READY) and not unheard:
        return Outcome.STOPPED, stopped
    return (Outcome.SUCCEEDED, "") if ending.succeeded else (Outcome.FAILED, ending.reason)


def exit_code_decides(course: TaskRun) -> bool:
    """Whether `mprun.launcher.channel.attempt_succeeded` is enough to tell that the present attempt succeeds.

    It is not if anything but the exit may make the attempt fail, or if the attempt was asked to end.
    """
    task = course.task
    watched = task.ready is not None or (task.limits is not None and task.limits.log is not None)
    return task.expect is None and not watched and not task.daemon and course.stop_reason is None


def not_ready(ending: AttemptResult) -> str:
    """The reason of what was never ready, over all its attempts, with how the last of them ended."""
    return _not_ready(f"not ready, {ending.reason}", ending)


def _not_ready(words: str, ending: AttemptResult) -> str:
    """With what was seen of it last."""
    return f"{words}: {ending.unready}" if ending.unready else words

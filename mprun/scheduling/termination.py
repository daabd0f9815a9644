"""Asks attempts to end, for their timeouts or because the run ends, and cancels what has not started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.instructions import (
    NOT_READY,
    RUN_TIMED_OUT,
    TIMEOUT,
    CancelStart,
    Instruction,
    Signal,
)
from mprun.scheduling.task_run import DISPATCHED, RUNNING
from mprun.scheduling.timers import ATTEMPT_TIMEOUT, KILL, READY_TIMEOUT, RUN_TIMEOUT

if TYPE_CHECKING:
    from mprun.scheduling.dispatch import Dispatcher
    from mprun.scheduling.ready_queue import ReadyQueue
    from mprun.scheduling.task_run import TaskRun, TaskRuns
    from mprun.scheduling.timers import Timers

KILL_SIGNAL = "SIGKILL"

# For these reasons a task probably hangs: the stacks of its threads show where.
_HANGS = (TIMEOUT, NOT_READY, RUN_TIMED_OUT)


class Termination:
    """Ends attempts: the first reason counts, and after it only a kill.

    `end_reason` is why the whole run ends, None while it does not.
    """

    def __init__(
        self,
        task_runs: TaskRuns,
        ready_queue: ReadyQueue,
        dispatcher: Dispatcher,
        timers: Timers,
        instructions: list[Instruction],
    ) -> None:
        self._task_runs = task_runs
        self._ready_queue = ready_queue
        self._dispatcher = dispatcher
        self._timers = timers
        self._instructions = instructions
        # Whether attempts that have no process yet are killed as soon as they have one.
        self._killing = False
        self.end_reason: str | None = None

    # ---- the run

    def end_run(self, reason: str, now: float, *, kill: bool = False) -> None:
        """Start nothing more, and ask all attempts to end, the last started one first."""
        self._killing = self._killing or kill
        self.cancel_pending(reason)
        for task_run in reversed(self._dispatcher):
            self.ask_to_end(task_run, reason, now, kill=kill)

    def cancel_pending(self, reason: str) -> None:
        """Start nothing more: finish the tasks of which the executor has no attempt."""
        self.end_reason = self.end_reason or reason
        self._ready_queue.clear()
        self._task_runs.finish_pending(reason)

    # ---- one attempt

    def ask_to_end(self, task_run: TaskRun, reason: str, now: float, *, kill: bool = False) -> None:
        """Ask the attempt of a task to end, if the executor has one: by a signal, or before it starts."""
        if task_run.state not in DISPATCHED:
            return
        first = task_run.ask_to_end(reason)
        if task_run.state is not RUNNING:
            if first:
                self._instructions.append(CancelStart(task=task_run.number, attempt=task_run.attempts))
        elif kill:
            self._send(task_run, KILL_SIGNAL, reason)
        elif first:
            self._send_stop_signal(task_run, reason, now)

    def watch(self, task_run: TaskRun, now: float) -> None:
        """An attempt has started: set its timers, or send the signal that was due before it had a process."""
        task, reason = task_run.task, task_run.stop_reason
        if reason is None:
            if task.timeout is not None:
                self._set_timer(now + task.timeout, ATTEMPT_TIMEOUT, task_run)
            if task.ready is not None:
                self._set_timer(now + task.ready.timeout, READY_TIMEOUT, task_run)
        elif self._killing:
            self._send(task_run, KILL_SIGNAL, reason)
        else:
            self._send_stop_signal(task_run, reason, now)

    def handle_timer(self, kind: int, task: int, attempt: int, now: float) -> None:
        """A timer of this attempt, or of the run, is due; it is void if the attempt is over."""
        if kind == RUN_TIMEOUT:
            if self.end_reason is None:
                self.end_run(RUN_TIMED_OUT, now)
            return
        task_run = self._task_runs.all[task]
        if task_run.attempts != attempt or task_run.state is not RUNNING:
            return
        if kind == KILL:
            self._send(task_run, KILL_SIGNAL, task_run.stop_reason or "")
        elif kind == ATTEMPT_TIMEOUT:
            self.ask_to_end(task_run, TIMEOUT, now)
        elif kind == READY_TIMEOUT and not task_run.is_ready:
            self.ask_to_end(task_run, NOT_READY, now)

    def _set_timer(self, due: float, kind: int, task_run: TaskRun) -> None:
        self._timers.set(due, kind, task_run.number, task_run.attempts)

    def _send_stop_signal(self, task_run: TaskRun, reason: str, now: float) -> None:
        stop = task_run.task.stop
        self._set_timer(now + stop.grace, KILL, task_run)
        self._send(task_run, stop.signal, reason, dump=reason in _HANGS)

    def _send(self, task_run: TaskRun, signal: str, reason: str, *, dump: bool = False) -> None:
        task, attempt = task_run.number, task_run.attempts
        self._instructions.append(Signal(task=task, attempt=attempt, signal=signal, reason=reason, dump=dump))

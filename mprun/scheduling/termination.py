"""Asks attempts to end, in the order of a stop or for their timeouts, and cancels what has not started."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import (
    NOT_READY,
    RECIPE_TIMEOUT,
    RUN_TIMED_OUT,
    TIMEOUT,
    CancelStart,
    Instruction,
    Signal,
)
from mprun.scheduling.task_run import DISPATCHED, PENDING, RUNNING
from mprun.scheduling.timers import ATTEMPT_TIMEOUT, KILL, READY_TIMEOUT, RUN_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mprun.scheduling.dispatch import Dispatcher
    from mprun.scheduling.join_order import JoinOrder
    from mprun.scheduling.ready_queue import ReadyQueue
    from mprun.scheduling.stop_order import StopOrder
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.task_runs import TaskRuns
    from mprun.scheduling.timers import Timers

KILL_SIGNAL = "SIGKILL"

# For these reasons a task probably hangs: the stacks of its threads show where.
_HANGS = (TIMEOUT, NOT_READY, RUN_TIMED_OUT, RECIPE_TIMEOUT)


class Termination:
    """Ends attempts: the first reason counts, and after it only a kill.

    Tasks that are stopped together are asked in order: each one once all of them that depend on it
    have ended or are killed. Those that wait for no other are asked together, the last started one
    first. An attempt that ends for a reason of its own, such as its timeout, is asked at once.

    `end_reason` is why the whole run ends, None while it does not. Only while `has_order` is true
    does `handle_over` have to be called.
    """

    def __init__(
        self,
        task_runs: TaskRuns,
        ready_queue: ReadyQueue,
        cancellation: Cancellation,
        dispatcher: Dispatcher,
        join_order: JoinOrder,
        timers: Timers,
        instructions: list[Instruction],
    ) -> None:
        self._task_runs = task_runs
        self._ready_queue = ready_queue
        self._cancellation = cancellation
        self._dispatcher = dispatcher
        self._join_order = join_order
        self._timers = timers
        self._instructions = instructions
        # Whether attempts that have no process yet are killed as soon as they have one.
        self._killing = False
        # The tasks that are to be asked once they wait for no other, and why.
        self._due: dict[int, str] = {}
        # Of all tasks that are being stopped: who waits for whom, and which ones started last.
        self._order: StopOrder | None = None
        self._ranks: dict[int, int] = {}
        # The tasks that have just been found to wait for no other, and those whose attempt is killed.
        self._free: list[int] = []
        self._killed: set[int] = set()
        self.has_order = False
        self.end_reason: str | None = None

    # ---- the run

    def end_run(self, reason: str, now: float, *, kill: bool = False) -> None:
        """Start nothing more, and end all attempts: in order, or all of them at once by a kill."""
        self._killing = self._killing or kill
        self.cancel_pending(reason)
        if not kill:
            self.stop(reversed(self._dispatcher), reason, now)
            return
        self._due.clear()
        for task_run in reversed(self._dispatcher):
            self.ask_to_end(task_run, reason, now, kill=True)

    def cancel_pending(self, reason: str) -> None:
        """Start nothing more: begin to finish the tasks of which the executor has no attempt."""
        if self.end_reason is None:
            self.end_reason = reason
            self._ready_queue.clear()
            self._cancellation.end_run(reason)
            self._cancellation.finish_more()

    def abandon(self, reason: str) -> None:
        """The executor is gone, and every attempt with it."""
        self.cancel_pending(reason)
        self._cancellation.finish_all()
        self._due.clear()

    # ---- several attempts, in order

    def stop(self, task_runs: Iterable[TaskRun], reason: str, now: float) -> None:
        """Ask the attempts of these tasks to end, each after those that depend on it.

        A start is cancelled at once. Until the executor has confirmed that, others wait for it.
        """
        for task_run in task_runs:
            if task_run.state is not RUNNING:
                self.ask_to_end(task_run, reason, now)
            elif task_run.stop_reason is None:
                self._due.setdefault(task_run.number, reason)
        self._plan_order()
        self._free += self._due
        self._ask_free(now)

    def _plan_order(self) -> None:
        """Find out which of the attempts that are being stopped wait for which."""
        stopping = [
            task_run.number
            for task_run in reversed(self._dispatcher)
            if task_run.stop_reason is not None or task_run.number in self._due
        ]
        self._ranks = {number: rank for rank, number in enumerate(stopping)}
        if self._ranks or self._order is not None:
            # Most runs end by themselves.
            from mprun.scheduling.stop_order import StopOrder

            self._order = StopOrder(self._ranks.keys() - self._killed, self._task_runs.needs_of)
        self.has_order = bool(self._order or self._killed)

    def handle_over(self, task_run: TaskRun, now: float) -> None:
        """An attempt has ended, or was not started: others may have waited for that."""
        number = task_run.number
        self._due.pop(number, None)
        self._killed.discard(number)
        self._release(number)
        self._ask_free(now)
        self.has_order = bool(self._order or self._killed)

    def _release(self, number: int) -> None:
        if self._order is not None:
            self._free += self._order.release(number)

    def _ask_free(self, now: float) -> None:
        """Ask the tasks that wait no longer, the last started one first; each kill may free others."""
        while self._free:
            order = self._order
            free = [
                n for n in self._free if n in self._due and not (order is not None and order.must_wait(n))
            ]
            self._free.clear()
            for number in sorted(free, key=self._ranks.__getitem__):
                task_run, reason = self._task_runs.all[number], self._due.pop(number)
                task_run.ask_to_end(reason)
                self._send_stop_signal(task_run, task_run.stop_reason or reason, now)

    # ---- one attempt

    def ask_to_end(self, task_run: TaskRun, reason: str, now: float, *, kill: bool = False) -> None:
        """Ask the attempt of a task to end, if the executor has one: by a signal, or before it starts."""
        if task_run.state not in DISPATCHED:
            return
        first = task_run.ask_to_end(reason)
        was_due = self._due.pop(task_run.number, None) is not None
        if task_run.state is not RUNNING:
            if first:
                self._instructions.append(CancelStart(task=task_run.number, attempt=task_run.attempts))
        elif kill:
            self._send(task_run, KILL_SIGNAL, reason)
        elif first or was_due:
            self._send_stop_signal(task_run, reason, now)
        self._ask_free(now)

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
            self._due[task_run.number] = reason
            self._free.append(task_run.number)
            self._ask_free(now)

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
            self._ask_free(now)
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
        task, attempt, to = task_run.number, task_run.attempts, task_run.task.stop.to
        self._instructions.append(
            Signal(task=task, attempt=attempt, signal=signal, reason=reason, dump=dump, to=to)
        )
        if signal == KILL_SIGNAL:
            self._killed.add(task)
            self.has_order = True
            self._release(task)


class Cancellation:
    """Takes so many tasks in one decision. Until its turn, a task neither starts nor is skipped."""

    def __init__(self, task_runs: TaskRuns, max_taken: int) -> None:
        self._task_runs = task_runs
        self._max_taken = max_taken
        self._stopped: deque[TaskRun] = deque()
        # Why the run ends, None if it does not, and the number of the next task to look at.
        self._reason: str | None = None
        self._next = 0

    @property
    def has_more(self) -> bool:
        """Whether `take_stopped` or `finish_more` has something to do."""
        return bool(self._stopped) or (
            self._reason is not None and self._next < len(self._task_runs.outcomes)
        )

    def stop(self, task_runs: Iterable[TaskRun]) -> None:
        """A user has stopped these tasks."""
        self._stopped += task_runs

    def take_stopped(self) -> Iterator[TaskRun]:
        """The next ones of those that a user has stopped, if they have not ended by other means."""
        for _ in range(min(self._max_taken, len(self._stopped))):
            task_run = self._stopped.popleft()
            if task_run.state in PENDING:
                yield task_run

    def end_run(self, reason: str) -> None:
        """No task starts any more."""
        if self._reason is None:
            self._reason = reason
            self._task_runs.is_ending = True

    def finish_more(self) -> None:
        """If the run ends, finish the next tasks."""
        if self._reason is None:
            return
        left, task_runs = self._max_taken, self._task_runs.all
        while left and self._next < len(task_runs):
            left -= self._finish(task_runs[self._next], self._reason)
            self._next += 1

    def finish_all(self) -> None:
        """Finish all of them now."""
        while self.has_more:
            self._stopped.clear()
            self.finish_more()

    def _finish(self, task_run: TaskRun, reason: str) -> bool:
        """Finish a task as cancelled, or as its last attempt ended."""
        if task_run.state not in PENDING:
            return False
        self._task_runs.finish(task_run, *(task_run.pending_outcome or (Outcome.CANCELLED, reason)))
        return True

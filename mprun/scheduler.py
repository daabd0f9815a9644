"""What next? A state machine without clock, process or file: facts in, intents out."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mprun import outcomes
from mprun.intents import Finish, Intent, Join, Signal, Start

if TYPE_CHECKING:
    from mprun.plan import Plan

WAITING, READY, STARTING, RUNNING, FINISHED = range(5)

# How long a task is left to end by itself after the stop signal, in seconds.
GRACE = 5.0
STOP_SIGNAL = "SIGTERM"
KILL_SIGNAL = "SIGKILL"
RUN_ENDS = "run_ends"


class Scheduler:
    """Decides for one run; the engine tells it what happened and does what it answers.

    Every method takes the time of the fact, in seconds on any clock that only goes
    forward, and returns the intents that follow, in the order in which they are to be
    carried out. After each, `deadline` says when `time_passed` is due next, and `over`
    is true once the run has nothing left to do. Tasks are named by their place in the
    plan, from 0.
    """

    def __init__(self, plan: Plan) -> None:
        count = len(plan.tasks)
        self._tasks = plan.tasks
        self._state = [WAITING] * count
        self._missing = [len(planned.needs) for planned in plan.tasks]
        self._attempts = [0] * count
        self._stop_reason: list[str | None] = [None] * count
        # Daemons take no place, so they wait in a queue of their own.
        self._ready: list[int] = []
        self._ready_daemons: list[int] = []
        self._free = plan.max_parallel
        self._started: list[int] = []
        self._first_batch: set[int] = set()
        self._live = 0
        self._unfinished = sum(not planned.task.daemon for planned in plan.tasks)
        self._joins = _Joins(plan)
        self._kill_timers: list[tuple[float, int]] = []
        self._ending: str | None = None
        self._intents: list[Intent] = []
        self.outcomes: list[str | None] = [None] * count
        self.over = False

    @property
    def deadline(self) -> float | None:
        """When `time_passed` is due next, on the caller's clock; None when nothing is timed."""
        kill = self._kill_timers[0][0] if self._kill_timers else None
        join = self._joins.deadline
        return kill if join is None else join if kill is None else min(join, kill)

    # ---- the facts

    def begin(self, now: float) -> list[Intent]:
        """The run begins: whatever depends on nothing may start."""
        for task, missing in enumerate(self._missing):
            if missing == 0:
                self._make_ready(task)
        self._start_what_can()
        self._first_batch = set(self._started)
        return self._decide(now)

    def task_started(self, task: int, now: float) -> list[Intent]:
        """An attempt has its process."""
        self._state[task] = RUNNING
        self._first_batch.discard(task)
        reason = self._stop_reason[task]
        if reason is not None:
            # It was asked to end before there was a process to send a signal to.
            self._send_stop(task, reason, now)
        return self._decide(now)

    def task_exited(self, task: int, succeeded: bool, reason: str, now: float) -> list[Intent]:
        """An attempt has ended, or could not be started; `reason` says how, in words."""
        self._first_batch.discard(task)
        self._release(task)
        stop_reason = self._stop_reason[task]
        if stop_reason is not None:
            self._finish(task, outcomes.STOPPED, stop_reason)
        else:
            outcome, why = (outcomes.SUCCEEDED, "") if succeeded else (outcomes.FAILED, reason)
            self._finish(task, outcome, why)
        return self._decide(now)

    def task_lost(self, task: int, reason: str, now: float) -> list[Intent]:
        """An attempt has ended, and nobody saw how."""
        self._first_batch.discard(task)
        self._release(task)
        self._finish(task, outcomes.UNKNOWN, reason)
        return self._decide(now)

    def time_passed(self, now: float) -> list[Intent]:
        """The clock has reached `deadline`, or any other time."""
        while self._kill_timers and self._kill_timers[0][0] <= now:
            _, task = heappop(self._kill_timers)
            if self._state[task] == RUNNING:
                self._send(task, KILL_SIGNAL, self._stop_reason[task] or "")
        return self._decide(now)

    def stop(self, reason: str, now: float, *, kill: bool = False) -> list[Intent]:
        """The run is asked to end: what has not started never will, the rest is stopped.

        With `kill`, at once; otherwise each gets the stop signal and the grace.
        """
        self._ending = self._ending or reason
        self._cancel_the_rest(reason)
        for task in reversed(self._started):
            self._ask_to_end(task, reason, now, kill=kill)
        return self._decide(now)

    def lost(self, reason: str, now: float) -> list[Intent]:
        """Whoever ran the tasks is gone: nobody will ever see how the running ones end."""
        self._ending = self._ending or reason
        self._cancel_the_rest(reason)
        for task, state in enumerate(self._state):
            if state in (STARTING, RUNNING):
                self._release(task)
                self._settle(task, outcomes.UNKNOWN, reason)
        self._first_batch.clear()
        return self._decide(now)

    # ---- the decisions

    def _decide(self, now: float) -> list[Intent]:
        # As in a script, every start() comes before the first join(). Later, joins come
        # before starts: what depends on a task starts after it was joined.
        if not self._first_batch:
            self._intents.extend(self._joins.advance(self.outcomes, now))
        self._start_what_can()
        self._end_the_run(now)
        intents, self._intents = self._intents, []
        return intents

    def _make_ready(self, task: int) -> None:
        self._state[task] = READY
        heappush(self._ready_daemons if self._tasks[task].task.daemon else self._ready, task)

    def _start_what_can(self) -> None:
        """In the order of the file, as long as there are places."""
        while True:
            queues = [self._ready_daemons, self._ready if self._free > 0 else []]
            queue = min(filter(None, queues), default=None)
            if queue is None:
                return
            task = heappop(queue)
            self._free -= queue is self._ready
            self._state[task] = STARTING
            self._attempts[task] += 1
            self._live += 1
            self._started.append(task)
            self._intents.append(Start(task=task, attempt=self._attempts[task]))

    def _release(self, task: int) -> None:
        self._live -= 1
        self._free += not self._tasks[task].task.daemon

    def _settle(self, task: int, outcome: str, reason: str) -> None:
        self._state[task] = FINISHED
        self.outcomes[task] = outcome
        self._unfinished -= not self._tasks[task].task.daemon
        attempts = self._attempts[task]
        self._intents.append(Finish(task=task, outcome=outcome, attempts=attempts, reason=reason))

    def _finish(self, task: int, outcome: str, reason: str) -> None:
        """Give a task its outcome, and every task that can now never start its own."""
        self._settle(task, outcome, reason)
        settled = [task]
        while settled:
            before = settled.pop()
            happy = self.outcomes[before] == outcomes.SUCCEEDED
            for after in self._tasks[before].needed_by:
                if self._state[after] != WAITING:
                    continue
                self._missing[after] -= 1
                if not happy:
                    reason = f"`{self._tasks[before].task.name}` did not succeed"
                    self._settle(after, outcomes.SKIPPED, reason)
                    settled.append(after)
                elif self._missing[after] == 0:
                    self._make_ready(after)

    def _cancel_the_rest(self, reason: str) -> None:
        for task, state in enumerate(self._state):
            if state in (WAITING, READY):
                self._settle(task, outcomes.CANCELLED, reason)
        self._ready.clear()
        self._ready_daemons.clear()

    def _end_the_run(self, now: float) -> None:
        """After the last join, daemons are stopped, last started first; then it is over."""
        if self._unfinished or not (self._joins.done or self._ending):
            return
        if self._ending is None:
            self._ending = RUN_ENDS
            self._cancel_the_rest(RUN_ENDS)
            for task in reversed(self._started):
                self._ask_to_end(task, RUN_ENDS, now)
        self.over = self._live == 0

    # ---- stopping

    def _ask_to_end(self, task: int, reason: str, now: float, *, kill: bool = False) -> None:
        if self._state[task] not in (STARTING, RUNNING):
            return
        first = self._stop_reason[task] is None
        if first:
            self._stop_reason[task] = reason
        if self._state[task] == RUNNING and kill:
            self._send(task, KILL_SIGNAL, reason)
        elif self._state[task] == RUNNING and first:
            self._send_stop(task, reason, now)

    def _send_stop(self, task: int, reason: str, now: float) -> None:
        heappush(self._kill_timers, (now + GRACE, task))
        self._send(task, STOP_SIGNAL, reason)

    def _send(self, task: int, signal: str, reason: str) -> None:
        attempt = self._attempts[task]
        self._intents.append(Signal(task=task, attempt=attempt, signal=signal, reason=reason))


class _Joins:
    """The main process's walk through the join order."""

    def __init__(self, plan: Plan) -> None:
        self._order = [(entry.task, entry.timeout) for entry in plan.join]
        listed = {task for task, _ in self._order}
        self._implicit = {number for number, planned in enumerate(plan.tasks) if not planned.task.daemon}
        # multiprocessing waits at exit for every child that is no daemon.
        self._order += [(task, None) for task in sorted(self._implicit - listed)]
        self._of = len(self._implicit | listed)
        self._next = 0
        self._joined: set[int] = set()
        self.deadline: float | None = None

    @property
    def done(self) -> bool:
        return self._next == len(self._order)

    def advance(self, outcome: list[str | None], now: float) -> list[Intent]:
        """Join what has finished, in order; give up on an entry whose time is over."""
        joins: list[Intent] = []
        while not self.done:
            task, timeout = self._order[self._next]
            if outcome[task] is None:
                if not self._timed_out(timeout, now):
                    break
                if task in self._implicit:
                    self._order.append((task, None))
            elif task not in self._joined and outcome[task] not in (outcomes.SKIPPED, outcomes.CANCELLED):
                self._joined.add(task)
                joins.append(Join(task=task, position=len(self._joined), of=self._of))
            self._next += 1
            self.deadline = None
        return joins

    def _timed_out(self, timeout: float | None, now: float) -> bool:
        if timeout is None:
            return False
        if self.deadline is None:
            self.deadline = now + timeout
        return now >= self.deadline

"""What next? A state machine without clock, process or file: facts in, intents out."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mprun import outcomes, retries
from mprun.intents import Finish, Intent, Signal, Start, TryAgain, Withdraw
from mprun.joins import Joins

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.plan import Plan
    from mprun.retries import Ending

WAITING, READY, STARTING, RUNNING, PAUSED, FINISHED = range(6)
# What a timer is for.
KILL, ATTEMPT_TIMEOUT, NEXT_ATTEMPT, RUN_TIMEOUT = range(4)

KILL_SIGNAL = "SIGKILL"
# How many tasks are handed over before there is a place for them: whoever starts them then
# need not ask first. (`make bench`: a fifth of the time of a run of short tasks.)
AHEAD = 1

# Why a task is stopped.
RUN_ENDS = "run_ends"
TIMEOUT = "timeout"
FAIL_FAST = "fail_fast"
RUN_TIMES_OUT = "run_timeout"

_BAD = (outcomes.FAILED, outcomes.TIMED_OUT)
_UNMET = {
    "succeeded": "did not succeed",
    "failed": "did not fail",
    "started": "was never started",
}


class Scheduler:
    """Decides for one run; the engine tells it what happened and does what it answers.

    Every method takes the time of the fact, in seconds on any clock that only goes
    forward, and returns the intents that follow, in the order in which they are to be
    carried out. After each, `deadline` says when `time_passed` is due next, and `over`
    is true once the run has nothing left to do; `ending` is the reason of an early end.
    Tasks are named by their place in the plan, from 0. `dice` gives a number from 0 up to
    1, for the part of a retry's delay that is left to chance.
    """

    def __init__(self, plan: Plan, dice: Callable[[], float] = lambda: 0.0) -> None:
        count = len(plan.tasks)
        self._plan = plan
        self._tasks = plan.tasks
        self._dice = dice
        self._now = 0.0
        self._state = [WAITING] * count
        self._missing = [len(planned.needs) for planned in plan.tasks]
        self._attempts = [0] * count
        self._began = [False] * count
        self._started_at = [0.0] * count
        # Why the present attempt was asked to end, and how the one before it ended.
        self._stop_reason: list[str | None] = [None] * count
        self._last: list[tuple[str, str] | None] = [None] * count
        # Daemons take no place, so they wait in a queue of their own.
        self._ready: list[int] = []
        self._ready_daemons: list[int] = []
        self._free = plan.max_parallel
        # A failure that stops the run must not meet a task that starts in the same instant.
        self._ahead = 0 if plan.job.fail_fast else AHEAD
        self._order: list[int] = []
        # The first task in the file that waits for another; it only moves on.
        self._waiting = 0
        self._first_batch: set[int] = set()
        self._live = 0
        self._unfinished = sum(not planned.task.daemon for planned in plan.tasks)
        self._joins = Joins(plan)
        self._timers: list[tuple[float, int, int, int]] = []
        self._intents: list[Intent] = []
        self._killing = False
        self.ending: str | None = None
        self.outcomes: list[str | None] = [None] * count
        self.over = False

    @property
    def deadline(self) -> float | None:
        """When `time_passed` is due next, on the caller's clock; None when nothing is timed."""
        timer = self._timers[0][0] if self._timers else None
        join = self._joins.deadline
        return timer if join is None else join if timer is None else min(join, timer)

    # ---- the facts

    def begin(self, now: float) -> list[Intent]:
        """The run begins: whatever depends on nothing may start."""
        self._now = now
        if self._plan.job.timeout is not None:
            self._set_timer(self._plan.job.timeout, RUN_TIMEOUT, 0)
        for task, missing in enumerate(self._missing):
            if missing == 0:
                self._make_ready(task)
        self._start_what_can()
        # What waits for a place was not started, and nobody waits for its start.
        waiting = max(0, -self._free)
        tasks = [task for task in self._order if not self._tasks[task].task.daemon]
        self._first_batch = set(self._order) - set(tasks[len(tasks) - waiting :])
        return self._decide()

    def task_started(self, task: int, now: float) -> list[Intent]:
        """An attempt has its process."""
        self._now = now
        self._state[task] = RUNNING
        self._started_at[task] = now
        self._first_batch.discard(task)
        reason, limit = self._stop_reason[task], self._tasks[task].task.timeout
        if reason is not None:
            # It was asked to end before there was a process to send a signal to.
            if self._killing:
                self._send(task, KILL_SIGNAL, reason)
            else:
                self._send_stop(task, reason)
        elif limit is not None:
            self._set_timer(limit, ATTEMPT_TIMEOUT, task)
        if not self._began[task]:
            self._began[task] = True
            for after, condition in self._tasks[task].needed_by:
                if condition == "started" and self._state[after] == WAITING:
                    self._one_less(after)
        return self._decide()

    def task_exited(self, task: int, ending: Ending, now: float) -> list[Intent]:
        """An attempt has ended, or could not be started."""
        self._now = now
        self._first_batch.discard(task)
        outcome, reason = self._judge(task, ending)
        self._release(task)
        again = outcome in _BAD and self.ending is None
        if again and retries.allows(self._tasks[task].task.retry, self._attempts[task], ending):
            self._pause(task, outcome, reason)
        else:
            self._finish(task, outcome, reason)
        return self._decide()

    def task_withdrawn(self, task: int, now: float) -> list[Intent]:
        """An attempt will not be started, as was asked."""
        self._now = now
        self._first_batch.discard(task)
        self._attempts[task] -= 1
        self._release(task)
        self._give_up(task, self._stop_reason[task] or "")
        return self._decide()

    def task_lost(self, task: int, reason: str, now: float) -> list[Intent]:
        """An attempt has ended, and nobody saw how."""
        self._now = now
        self._first_batch.discard(task)
        self._release(task)
        self._finish(task, outcomes.UNKNOWN, reason)
        return self._decide()

    def time_passed(self, now: float) -> list[Intent]:
        """The clock has reached `deadline`, or any other time."""
        self._now = now
        while self._timers and self._timers[0][0] <= now:
            _, kind, task, attempt = heappop(self._timers)
            if attempt == self._attempts[task] or kind == RUN_TIMEOUT:
                self._ring(kind, task)
        return self._decide()

    def stop(self, reason: str, now: float, *, kill: bool = False) -> list[Intent]:
        """The run is asked to end: what has not started never will, the rest is stopped.

        With `kill`, at once; otherwise each gets its stop signal and its grace.
        """
        self._now = now
        self._end_early(reason, kill=kill)
        return self._decide()

    def lost(self, reason: str, now: float) -> list[Intent]:
        """Whoever ran the tasks is gone: nobody will ever see how the running ones end."""
        self._now = now
        self.ending = self.ending or reason
        self._cancel_the_rest(reason)
        for task, state in enumerate(self._state):
            if state in (STARTING, RUNNING):
                self._release(task)
                self._settle(task, outcomes.UNKNOWN, reason)
        self._first_batch.clear()
        return self._decide()

    # ---- the decisions

    def _decide(self) -> list[Intent]:
        # As in a script, every start() comes before the first join(). Later, joins come
        # before starts: what depends on a task starts after it was joined.
        if not self._first_batch:
            self._intents.extend(self._joins.advance(self.outcomes, self._now))
        self._start_what_can()
        self._end_the_run()
        intents, self._intents = self._intents, []
        return intents

    def _judge(self, task: int, ending: Ending) -> tuple[str, str]:
        stop_reason, limit = self._stop_reason[task], self._tasks[task].task.timeout
        if stop_reason == TIMEOUT and limit is not None and self._now >= self._started_at[task] + limit:
            return outcomes.TIMED_OUT, f"timeout after {limit:g}s"
        if stop_reason is not None and stop_reason != TIMEOUT:
            return outcomes.STOPPED, stop_reason
        return (outcomes.SUCCEEDED, "") if ending.succeeded else (outcomes.FAILED, ending.reason)

    def _make_ready(self, task: int) -> None:
        self._state[task] = READY
        heappush(self._ready_daemons if self._tasks[task].task.daemon else self._ready, task)

    def _one_less(self, task: int) -> None:
        self._missing[task] -= 1
        if self._missing[task] == 0:
            self._make_ready(task)

    def _start_what_can(self) -> None:
        """In the order of the file, as long as there are places."""
        while True:
            queues = [self._ready_daemons, self._ready if self._has_room() else []]
            queue = min(filter(None, queues), default=None)
            if queue is None:
                return
            task = heappop(queue)
            self._free -= queue is self._ready
            self._state[task] = STARTING
            self._stop_reason[task] = None
            self._attempts[task] += 1
            self._live += 1
            self._order.append(task)
            self._intents.append(Start(task=task, attempt=self._attempts[task]))

    def _has_room(self) -> bool:
        """Whether the first ready task has a place, or may be handed over ahead of one.

        Ahead only where no task before it in the file may yet become ready: it would come
        first.
        """
        if self._free > 0 or not self._ready:
            return self._free > 0
        while self._waiting < len(self._state) and self._state[self._waiting] != WAITING:
            self._waiting += 1
        return self._free > -self._ahead and self._ready[0] < self._waiting

    def _release(self, task: int) -> None:
        self._live -= 1
        self._free += not self._tasks[task].task.daemon

    def _pause(self, task: int, outcome: str, reason: str) -> None:
        """Wait for the next attempt, without a place."""
        self._state[task] = PAUSED
        self._last[task] = (outcome, reason)
        attempts = self._attempts[task]
        delay = retries.delay(self._tasks[task].task.retry, attempts, self._dice)
        self._intents.append(TryAgain(task=task, attempt=attempts + 1, delay=delay, reason="retry"))
        self._set_timer(delay, NEXT_ATTEMPT, task)

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
            for after, condition in self._tasks[before].needed_by:
                if self._state[after] != WAITING or (condition == "started" and self._began[before]):
                    continue
                if self._holds(condition, before):
                    self._one_less(after)
                else:
                    why = f"`{self._tasks[before].name}` {_UNMET[condition]}"
                    self._settle(after, outcomes.SKIPPED, why)
                    settled.append(after)
        if outcome in _BAD and self._plan.job.fail_fast and not self._tasks[task].task.allow_failure:
            self._end_early(FAIL_FAST)

    def _holds(self, condition: str, before: int) -> bool:
        outcome = self.outcomes[before]
        if condition == "failed":
            return outcome in _BAD
        return condition == "finished" or (condition == "succeeded" and outcome == outcomes.SUCCEEDED)

    # ---- the end

    def _end_early(self, reason: str, *, kill: bool = False) -> None:
        self.ending = self.ending or reason
        self._killing = self._killing or kill
        self._cancel_the_rest(reason)
        for task in self._last_started_first():
            self._ask_to_end(task, reason, kill=kill)

    def _cancel_the_rest(self, reason: str) -> None:
        """What never started is cancelled; what waits for its next attempt has failed."""
        for task, state in enumerate(self._state):
            if state in (WAITING, READY, PAUSED):
                self._give_up(task, reason)
        self._ready.clear()
        self._ready_daemons.clear()

    def _give_up(self, task: int, reason: str) -> None:
        outcome, why = self._last[task] or (outcomes.CANCELLED, reason)
        self._settle(task, outcome, why)

    def _end_the_run(self) -> None:
        """After the last join, daemons are stopped, last started first; then it is over."""
        if self._unfinished or not (self._joins.done or self.ending):
            return
        if self._first_batch and self.ending is None:
            # As in a script, what comes before the end of the main process was started.
            return
        if self.ending is None:
            self.ending = RUN_ENDS
            self._cancel_the_rest(RUN_ENDS)
            for task in self._last_started_first():
                self._ask_to_end(task, RUN_ENDS)
        self.over = self._live == 0

    def _last_started_first(self) -> list[int]:
        """Each task once, though it may have been started several times."""
        return list(dict.fromkeys(reversed(self._order)))

    # ---- stopping

    def _ask_to_end(self, task: int, reason: str, *, kill: bool = False) -> None:
        if self._state[task] not in (STARTING, RUNNING):
            return
        first = self._stop_reason[task] is None
        if first:
            self._stop_reason[task] = reason
        if self._state[task] == STARTING and first:
            self._intents.append(Withdraw(task=task, attempt=self._attempts[task]))
        if self._state[task] == RUNNING and kill:
            self._send(task, KILL_SIGNAL, reason)
        elif self._state[task] == RUNNING and first:
            self._send_stop(task, reason)

    def _send_stop(self, task: int, reason: str) -> None:
        stop = self._tasks[task].task.stop
        self._set_timer(stop.grace, KILL, task)
        self._send(task, stop.signal, reason, dump=reason in (TIMEOUT, RUN_TIMES_OUT))

    def _send(self, task: int, signal: str, reason: str, *, dump: bool = False) -> None:
        attempt = self._attempts[task]
        self._intents.append(Signal(task=task, attempt=attempt, signal=signal, reason=reason, dump=dump))

    # ---- timers

    def _set_timer(self, delay: float, kind: int, task: int) -> None:
        heappush(self._timers, (self._now + delay, kind, task, self._attempts[task]))

    def _ring(self, kind: int, task: int) -> None:
        state = self._state[task]
        if kind == RUN_TIMEOUT:
            if self.ending is None:
                self._end_early(RUN_TIMES_OUT)
        elif kind == NEXT_ATTEMPT and state == PAUSED:
            self._make_ready(task)
        elif kind == KILL and state == RUNNING:
            self._send(task, KILL_SIGNAL, self._stop_reason[task] or "")
        elif kind == ATTEMPT_TIMEOUT and state == RUNNING:
            self._ask_to_end(task, TIMEOUT)


LOG_LIMIT = "log_limit"

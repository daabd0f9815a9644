"""What next? A state machine without clock, process or file: facts in, instructions out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling import retry, termination
from mprun.scheduling.dispatch import Dependents, Dispatcher
from mprun.scheduling.instructions import Instruction, MarkReady, Resolve, ScheduleRetry
from mprun.scheduling.join_order import JoinOrder
from mprun.scheduling.ready_queue import ReadyQueue
from mprun.scheduling.task_run import (
    HELD,
    PAUSED,
    READY,
    RESOLVING,
    RUNNING,
    STARTING,
    WAITING,
    TaskRun,
    TaskRuns,
)
from mprun.scheduling.termination import (
    FAIL_FAST,
    LOG_LIMIT,
    NOT_READY,
    RUN_FINISHED,
    RUN_TIMES_OUT,
    TIMEOUT,
    USER,
    Termination,
)
from mprun.scheduling.timers import (
    ATTEMPT_TIMEOUT,
    KILL,
    NEXT_ATTEMPT,
    READY_TIMEOUT,
    RUN_TIMEOUT,
    Timers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.retry import AttemptResult

# Who drives the scheduler need not know its rooms.
__all__ = [
    "FAIL_FAST",
    "LOG_LIMIT",
    "NOT_READY",
    "RUN_FINISHED",
    "RUN_TIMES_OUT",
    "TIMEOUT",
    "USER",
    "Scheduler",
]

# How many tasks are handed over before there is a place for them: whoever starts them then
# need not ask first. (`make bench`: a fifth of the time of a run of short tasks.)
AHEAD = 8
# And how many before what they wait for has ended.
HELD_AHEAD = 8


class Scheduler:
    """Decides for one run; the engine tells it what happened and does what it answers.

    Every method takes the time of the fact, in seconds on any clock that only goes
    forward, and returns the instructions that follow, in the order in which they are to be
    carried out. After each, `deadline` says when `handle_deadline` is due next, and `finished`
    is true once the run has nothing left to do; `end_reason` is the reason of an early end,
    `unstarted` the attempts of which nobody has said that they have started.
    Tasks are named by their place in the plan, from 0, and those that come about on the way
    by the numbers after it. `dice` gives a number from 0 up to 1, for the part of a retry's
    delay that is left to chance.
    """

    def __init__(
        self,
        plan: Plan,
        dice: Callable[[], float] = lambda: 0.0,
        ahead: int = AHEAD,
        held: int = HELD_AHEAD,
    ) -> None:
        self._plan = plan
        self._dice = dice
        self._now = 0.0
        self._instructions: list[Instruction] = []
        self._courses = TaskRuns(plan, self._instructions)
        # A failure that stops the run must not meet a task that starts in the same instant.
        ahead, held = (0, 0) if plan.job.fail_fast else (ahead, held)
        self._admission = ReadyQueue(plan, self._courses.all, ahead)
        successors = Dependents(self._courses, held)
        self._roster = Dispatcher(self._courses, self._admission, successors, self._instructions)
        self._joins = JoinOrder(plan)
        self._timers = Timers()
        self._stops = Termination(self._instructions, self._timers)
        # Whether more may have to be started before the joins begin.
        self._beginning = True
        self._to_resolve: list[TaskRun] = []
        self.end_reason: str | None = None
        self.finished = False
        self.unstarted = self._courses.unstarted

    @property
    def outcomes(self) -> list[str | None]:
        """The outcome of each task, by number; None where there is none, or not yet."""
        return self._courses.outcomes

    @property
    def expanded(self) -> set[int]:
        """The tasks that turned out to be groups: their instances have outcomes, they have none."""
        return self._courses.expanded

    @property
    def deadline(self) -> float | None:
        """When `handle_deadline` is due next, on the caller's clock; None when nothing is timed."""
        timer = self._timers.first
        join = self._joins.deadline
        return timer if join is None else join if timer is None else min(join, timer)

    # ---- the facts

    def begin(self, now: float) -> list[Instruction]:
        """The run begins: whatever depends on nothing may start."""
        self._now = now
        if self._plan.job.timeout is not None:
            self._timers.set(now + self._plan.job.timeout, RUN_TIMEOUT, 0, 0)
        self._settle_known(self._courses.all)
        return self._decide()

    def handle_resolved(self, task: int, now: float) -> list[Instruction]:
        """What the task refers to was found."""
        course = self._courses.all[task]
        if course.state != RESOLVING:
            return []
        self._now = now
        self._make_ready(course)
        return self._decide()

    def handle_skipped(self, task: int, reason: str, now: float) -> list[Instruction]:
        """Its `when` turned out to be false; what depends on it sees that as a success."""
        return self._answered(task, Outcome.SKIPPED, reason, now, passed=True)

    def handle_resolve_failed(self, task: int, reason: str, now: float) -> list[Instruction]:
        """What the task refers to is not there."""
        return self._answered(task, Outcome.FAILED, reason, now)

    def handle_expanded(self, task: int, instances: Sequence[PlannedTask], now: float) -> list[Instruction]:
        """The task turned out to be a group; its instances have the next numbers, in this order.

        Unless it was given up meanwhile: then `expanded` does not have it, and no number is taken.
        """
        if not instances:
            return self._answered(task, Outcome.SUCCEEDED, "the list is empty", now, passed=True)
        course = self._courses.all[task]
        if course.state != RESOLVING:
            return []
        self._now = now
        numbers = self._courses.expand(course, instances)
        self._joins.expand(task, numbers)
        self._settle_known([self._courses.all[number] for number in numbers])
        return self._decide()

    def handle_started(self, task: int, now: float) -> list[Instruction]:
        """An attempt has its process."""
        self._now = now
        self._joins.was_started(task)
        course = self._courses.all[task]
        self._roster.let_go(course)
        course.state = RUNNING
        course.started_at = now
        if course.stop_reason is None:
            if course.task.timeout is not None:
                self._set_timer(course.task.timeout, ATTEMPT_TIMEOUT, course)
            if course.task.ready is not None:
                self._set_timer(course.task.ready.timeout, READY_TIMEOUT, course)
        else:
            self._stops.repeat(course, course.stop_reason, now)
        if not course.began:
            course.began, course.began_at = True, now
            self._courses.tell(course, "started")
        return self._decide()

    def handle_ready(self, task: int, attempt: int, now: float) -> list[Instruction]:
        """A probe has found this attempt to be ready; too late if it ends or was asked to."""
        course = self._courses.all[task]
        running = course.state == RUNNING and course.attempts == attempt and course.stop_reason is None
        if not running or course.is_ready:
            return []
        self._now = now
        self._instructions.append(MarkReady(task=task, attempt=attempt))
        first = course.ready_attempt == 0
        course.ready_attempt = attempt
        if first:
            self._courses.tell(course, "ready")
        return self._decide()

    def handle_exited(self, task: int, ending: AttemptResult, now: float) -> list[Instruction]:
        """An attempt has ended, or could not be started."""
        self._now = now
        self._joins.was_started(task)
        course = self._courses.all[task]
        outcome, reason = termination.outcome_of(course, ending, now)
        served = course.state == RUNNING and now - course.started_at >= retry.STABLE_AFTER
        course.in_a_row = 1 if served else course.in_a_row + 1
        self._roster.release(course)
        again = None
        if self.end_reason is None and not course.unwanted:
            again = retry.reason_for_another(course.task, outcome, course.attempts, ending)
        if again == retry.RESTART and course.never_served(now):
            # Else whoever waits for it to be ready would wait for ever.
            again, outcome, reason = None, Outcome.FAILED, termination.not_ready(ending)
        if again is not None:
            self._pause(course, outcome, reason, again)
        else:
            self._finish(course, outcome, reason)
        return self._decide()

    def handle_start_cancelled(self, task: int, now: float) -> list[Instruction]:
        """An attempt will not be started: as was asked, or as what it was to follow has not succeeded."""
        self._now = now
        self._joins.was_started(task)
        course = self._courses.all[task]
        course.attempts -= 1
        self._roster.release(course)
        if course.stop_reason is not None or course.last is not None:
            self._give_up(course, course.stop_reason or "")
        elif course.missing:
            course.state = WAITING
        else:
            self._make_ready(course)
        return self._decide()

    def handle_exit_unknown(self, task: int, reason: str, now: float) -> list[Instruction]:
        """An attempt has ended, and nobody saw how."""
        self._now = now
        self._joins.was_started(task)
        self._roster.release(self._courses.all[task])
        self._finish(self._courses.all[task], Outcome.UNKNOWN, reason)
        return self._decide()

    def handle_deadline(self, now: float) -> list[Instruction]:
        """The clock has reached `deadline`, or any other time."""
        self._now = now
        while (timer := self._timers.pop(now)) is not None:
            self._ring(*timer)
        return self._decide()

    def stop_task(self, task: int, reason: str, now: float) -> list[Instruction]:
        """A task is asked to end, as a timeout would, and nothing else of the run.

        With USER, for good: there is no further attempt, and what has not started never
        will. Any other reason, such as LOG_LIMIT, is for the attempt that is running.
        """
        self._now = now
        course = self._courses.all[task]
        if reason == USER:
            course.unwanted = True
            if course.state == READY:
                self._admission.remove(course)
            if course.state in (WAITING, RESOLVING, READY, PAUSED):
                self._give_up(course, reason)
        if course.state == RUNNING or reason == USER:
            self._stops.ask_to_end(course, reason, now)
        return self._decide()

    def stop(self, reason: str, now: float, *, kill: bool = False) -> list[Instruction]:
        """The run is asked to end: what has not started never will, the rest is stopped.

        With `kill`, at once; otherwise each gets its stop signal and its grace.
        """
        self._now = now
        self._end_early(reason, kill=kill)
        return self._decide()

    def handle_executor_lost(self, reason: str, began: Collection[int], now: float) -> list[Instruction]:
        """Whoever ran the tasks is gone; of those that were handed over, `began` have begun."""
        self._now = now
        self.end_reason = self.end_reason or reason
        self._cancel_the_rest(reason)
        for course in self._courses.all:
            if course.state in (HELD, STARTING, RUNNING):
                never = course.state != RUNNING and course.number not in began
                course.attempts -= never
                self._joins.was_started(course.number)
                self._roster.release(course)
                end = (Outcome.CANCELLED, reason) if never else (Outcome.UNKNOWN, reason)
                self._courses.settle(course, *((never and course.last) or end))
        return self._decide()

    # ---- the decisions

    def _settle_known(self, courses: Sequence[TaskRun]) -> None:
        for number in self._courses.settle_known(courses):
            self._joins.leave_out(number)

    def _decide(self) -> list[Instruction]:
        if self._courses.released:
            self._take_released()
        if self._beginning:
            self._begin_joins()
        # Joins come before starts: what depends on a task starts after it was joined.
        self._instructions += self._joins.advance(self.outcomes, self._now)
        self._roster.fill()
        self._end_the_run()
        if self._to_resolve:
            self._ask_to_resolve()
        instructions = self._instructions[:]
        self._instructions.clear()
        return instructions

    def _take_released(self) -> None:
        """What waits for nothing any more is ready, unless what it refers to is to be found first."""
        for course in self._courses.released:
            self._roster.let_go(course)
            if course.state != WAITING:
                continue
            if course.planned.late:
                course.state = RESOLVING
                self._admission.expect(course)
                self._to_resolve.append(course)
            else:
                self._make_ready(course)
        self._courses.released.clear()

    def _make_ready(self, course: TaskRun) -> None:
        course.state = READY
        self._admission.add(course)

    def _begin_joins(self) -> None:
        """They begin after what can start at the beginning, as soon as it is known what that is."""
        self._roster.fill()
        if self._admission.expects_more:
            return
        self._beginning = False
        self._joins.begin_after(self._roster.starting())

    def _ask_to_resolve(self) -> None:
        """Unless the run has ended since."""
        for course in self._to_resolve:
            if course.state == RESOLVING:
                self._instructions.append(Resolve(task=course.number))
        self._to_resolve.clear()

    def _answered(
        self, task: int, outcome: str, reason: str, now: float, *, passed: bool = False
    ) -> list[Instruction]:
        """A task that was to be resolved will not run."""
        course = self._courses.all[task]
        if course.state != RESOLVING:
            return []
        self._now = now
        if outcome == Outcome.SUCCEEDED:
            self._joins.expand(task, [])
        self._finish(course, outcome, reason, passed=passed)
        return self._decide()

    def _pause(self, course: TaskRun, outcome: str, reason: str, again: str) -> None:
        """Wait for the next attempt, without a place."""
        course.pause(outcome, reason, self._now)
        count = course.in_a_row if again == retry.RESTART else course.attempts
        delay = retry.delay(retry.delays(course.task), count, self._dice)
        next_one = course.attempts + 1
        self._instructions.append(
            ScheduleRetry(task=course.number, attempt=next_one, delay=delay, reason=again)
        )
        self._set_timer(delay, NEXT_ATTEMPT, course)

    def _finish(self, course: TaskRun, outcome: str, reason: str, *, passed: bool = False) -> None:
        """Give a task its outcome, and every task that can now never start its own."""
        self._courses.settle(course, outcome, reason, passed=passed)
        self._courses.tell_end(course)
        if outcome in retry.FAILURES and self._plan.job.fail_fast and not course.task.allow_failure:
            self._end_early(FAIL_FAST)

    # ---- the end

    def _end_early(self, reason: str, *, kill: bool = False) -> None:
        self.end_reason = self.end_reason or reason
        self._stops.killing = self._stops.killing or kill
        self._cancel_the_rest(reason)
        self._ask_all_to_end(reason, kill=kill)

    def _cancel_the_rest(self, reason: str) -> None:
        """What never started is cancelled; what waits for its next attempt ended as its last."""
        self._admission.clear()
        self._courses.cancel_the_rest(reason)

    def _give_up(self, course: TaskRun, reason: str) -> None:
        self._finish(course, *(course.last or (Outcome.CANCELLED, reason)))

    def _end_the_run(self) -> None:
        """After the last join, daemons are stopped, last started first; then it is over."""
        if self._courses.unfinished or not (self._joins.done or self.end_reason):
            return
        if self.end_reason is None:
            self.end_reason = RUN_FINISHED
            self._cancel_the_rest(RUN_FINISHED)
            self._ask_all_to_end(RUN_FINISHED)
        self.finished = not self._roster

    def _ask_all_to_end(self, reason: str, *, kill: bool = False) -> None:
        """Last started first."""
        for course in reversed(self._roster):
            self._stops.ask_to_end(course, reason, self._now, kill=kill)

    # ---- timers

    def _set_timer(self, delay: float, kind: int, course: TaskRun) -> None:
        self._timers.set(self._now + delay, kind, course.number, course.attempts)

    def _ring(self, kind: int, task: int, attempt: int) -> None:
        if kind == RUN_TIMEOUT:
            if self.end_reason is None:
                self._end_early(RUN_TIMES_OUT)
            return
        course = self._courses.all[task]
        if course.attempts != attempt:
            return
        if kind == NEXT_ATTEMPT and course.state == PAUSED:
            self._make_ready(course)
        elif course.state != RUNNING:
            return
        elif kind == KILL:
            self._stops.kill(course, course.stop_reason or "")
        elif kind == ATTEMPT_TIMEOUT:
            self._stops.ask_to_end(course, TIMEOUT, self._now)
        elif kind == READY_TIMEOUT and not course.is_ready:
            self._stops.ask_to_end(course, NOT_READY, self._now)

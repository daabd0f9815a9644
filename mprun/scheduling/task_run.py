"""A task's way through a run: its state, and what each event makes of it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.retry import FAILURES, STABLE_AFTER
from mprun.scheduling.verdict import end_of

if TYPE_CHECKING:
    from mprun.scheduling.plan import PlannedTask, Reused


class TaskState(Enum):
    """How far a task is. `mprun.scheduling.transitions` says which event leads to which state."""

    # A condition of `depends_on` is not met yet.
    WAITING = "waiting"
    # The conditions are met, and the engine is looking up what the task refers to.
    RESOLVING = "resolving"
    # Nothing is missing but a slot and tokens.
    READY = "ready"
    # The executor has the attempt, and starts it by itself once the dependencies have succeeded.
    HELD = "held"
    # The executor has the attempt, and starts it as soon as it can.
    STARTING = "starting"
    # The attempt has a process.
    RUNNING = "running"
    # An attempt has ended, and the next one is due after a delay.
    PAUSED = "paused"
    # It has ended, or will not start, in a round of its recipe that may not be the last.
    SETTLED = "settled"
    # The task has its outcome.
    FINISHED = "finished"
    # The task turned out to be a group: its instances run in its place.
    EXPANDED = "expanded"


# A global name is looked up faster than an attribute of the class.
WAITING = TaskState.WAITING
RESOLVING = TaskState.RESOLVING
READY = TaskState.READY
HELD = TaskState.HELD
STARTING = TaskState.STARTING
RUNNING = TaskState.RUNNING
PAUSED = TaskState.PAUSED
SETTLED = TaskState.SETTLED
FINISHED = TaskState.FINISHED
EXPANDED = TaskState.EXPANDED

# The executor has an attempt of the task.
DISPATCHED = (HELD, STARTING, RUNNING)
# The task has no outcome, and the executor has no attempt of it.
PENDING = (WAITING, RESOLVING, READY, PAUSED, SETTLED)

# Sorts tasks: of two tasks the one with the lesser key starts first. The last item is the task's number.
Key = tuple[int, ...]

# The reason of a task that is skipped by its own condition, whether that is known before the run or not.
WHEN_IS_FALSE = "`when` is false"

# The reason of a task that may have begun on a host that was lost, and did not start again.
ITS_HOST_LOST = "its host was lost"
# The outcomes of tasks without an attempt.
NEVER_RAN = (Outcome.SKIPPED, Outcome.CANCELLED)

# A daemon that is restarted and has never been ready gets at least this many attempts.
MIN_ATTEMPTS_TO_BE_READY = 3


def order_key(position: int, number: int, priority: int | None) -> Key:
    """The highest priority first, then the order of the file; without priorities only the file decides.

    Instances have the highest numbers, and the position of their group.
    """
    return (position, number) if priority is None else (-priority, position, number)


class TaskRun:
    """One task of the run. Its state and its fields change only in its methods.

    Each method that changes something is an event of the table in `mprun.scheduling.transitions`.

    `position` is the task's index in the plan, or that of its group. `unmet` counts the conditions
    that are not met yet, `attempts` the attempts that the executor was given. `first_started_at` is
    the start of the first attempt, `started_at` that of the last one, `stop_reason` says why the
    present attempt was asked to end. `pending_outcome` is the outcome and the reason that the task
    has if no further attempt starts. `ready_attempt` is the last attempt that was ready,
    `unstable_attempts` counts the attempts since one was stable. With `stopped_by_user` no further
    attempt starts. `skipped_by_when` says why the task was skipped. `ready_at` is when the present
    attempt lacked nothing but a slot and tokens, `queued_in` the pass of the ready queue in which that was,
    `lacked` the tokens for which it waited. `lost` counts the attempts that were lost with their hosts,
    `replaced` those of them that `retry` does not count.
    """

    __slots__ = (
        "attempts",
        "first_started_at",
        "has_started",
        "key",
        "lacked",
        "lost",
        "number",
        "pending_outcome",
        "planned",
        "position",
        "queued_in",
        "ready_at",
        "ready_attempt",
        "replaced",
        "skipped_by_when",
        "started_at",
        "state",
        "stop_reason",
        "stopped_by_user",
        "task",
        "unmet",
        "unstable_attempts",
    )

    def __init__(self, number: int, planned: PlannedTask, position: int, priority: int | None = None) -> None:
        self.number = number
        self.planned = planned
        self.task = planned.task
        self.position = position
        self.key = order_key(position, number, priority)
        self.state = WAITING
        self.unmet = len(planned.needs)
        self.attempts = self.ready_attempt = self.unstable_attempts = 0
        self.has_started = self.stopped_by_user = self.skipped_by_when = False
        self.started_at = self.first_started_at = self.ready_at = 0.0
        self.queued_in = self.lost = self.replaced = 0
        self.lacked = ""
        self.stop_reason: str | None = None
        self.pending_outcome: tuple[str, str] | None = None

    # ---- events before an attempt

    def reuse(self, reused: Reused) -> None:
        """An earlier run has finished the task."""
        self.attempts = reused.attempts
        self.planned = self.planned.replace(reused=reused)

    def add_conditions(self, count: int) -> None:
        """A dependency turned out to be a group: each further instance is a condition of its own."""
        self.unmet += count

    def meet_condition(self) -> bool:
        """One more condition is met; whether that was the last one."""
        self.unmet -= 1
        return self.unmet == 0

    def fail_condition(self, reason: str) -> None:
        """A condition will never be met, so the executor is about to cancel the held start."""
        if self.stop_reason is None and self.pending_outcome is None:
            self.pending_outcome = Outcome.SKIPPED, reason

    def begin_resolving(self) -> None:
        """The conditions are met, and the engine looks up what the task refers to."""
        self.state = RESOLVING

    def accept_answer(self) -> bool:
        """The engine has an answer for the task; False if the task was finished in the meantime."""
        return self.state is RESOLVING

    def expand(self) -> None:
        """The task turned out to be a group."""
        self.state = EXPANDED

    def become_ready(self, now: float, queued_in: int) -> None:
        """Nothing is missing but a slot and tokens."""
        self.state = READY
        self.ready_at, self.queued_in = now, queued_in

    # ---- events of an attempt

    def dispatch(self, lacked: str) -> None:
        """The executor is given the next attempt, which had to wait for the tokens that it lacked, if any."""
        self.state = STARTING
        self.lacked = lacked
        self.stop_reason = None
        self.attempts += 1

    def hold(self) -> None:
        """The executor is given the first attempt, to start it once the dependencies have succeeded."""
        self.state = HELD
        self.stop_reason = None
        self.attempts += 1

    def release_hold(self) -> None:
        """The dependencies have succeeded: the held attempt starts."""
        self.state = STARTING

    def cancel_attempt(self) -> None:
        """The executor will not start the attempt, which therefore does not count."""
        self.attempts -= 1

    def wait(self) -> None:
        """The held start was cancelled or lost, and a condition is not met yet."""
        self.state = WAITING

    def start(self, now: float) -> bool:
        """The attempt has a process; whether it is the first one of the task."""
        self.state = RUNNING
        self.started_at = now
        first = not self.has_started
        if first:
            self.has_started, self.first_started_at = True, now
        return first

    def accept_readiness(self, attempt: int) -> bool:
        """A probe found this attempt ready; False if that is known, or if the attempt is ending or over."""
        if self.state is not RUNNING or self.attempts != attempt or self.stop_reason is not None:
            return False
        if self.ready_attempt == attempt:
            return False
        self.ready_attempt = attempt
        return True

    def ask_to_end(self, reason: str) -> bool:
        """The attempt is asked to end; False if it was asked before, because the first reason counts."""
        if self.stop_reason is not None:
            return False
        self.stop_reason = reason
        return True

    def refuse_attempts(self) -> None:
        """A user has stopped the task: it gets no further attempt."""
        self.stopped_by_user = True

    def end_attempt(self, now: float) -> None:
        """The attempt is over; `pause` or `finish` follows."""
        was_stable = self.state is RUNNING and now - self.started_at >= STABLE_AFTER
        self.unstable_attempts = 1 if was_stable else self.unstable_attempts + 1

    def lose_attempt(self, *, replaced: bool) -> None:
        """The attempt is over, because its host was lost; `pause`, `wait` or `finish` follows."""
        self.unstable_attempts += 1
        self.lost += 1
        self.replaced += replaced

    def pause(self, outcome: str, reason: str, now: float) -> None:
        """The next attempt follows after a delay; this outcome is the task's if it never starts.

        A daemon that was up and is restarted has not failed, because the next attempt was to repair that.
        """
        was_up = self.is_ready if self.task.ready is not None else now - self.started_at >= STABLE_AFTER
        failed = outcome in FAILURES or outcome == Outcome.UNKNOWN
        if self.task.restart != "never" and self.state is RUNNING and was_up and failed:
            outcome, reason = Outcome.STOPPED, f"{reason}, before its next start"
        self.state, self.pending_outcome = PAUSED, (outcome, reason)

    def finish(self, *, skipped_by_when: bool = False) -> None:
        """The task has its outcome."""
        self.state = FINISHED
        self.skipped_by_when |= skipped_by_when

    # ---- questions

    @property
    def counted(self) -> int:
        """How many of its attempts `retry` counts."""
        return self.attempts - self.replaced

    @property
    def tries(self) -> int:
        """How many of its attempts count for the question whether it is flaky: lost ones do not."""
        return self.attempts - self.lost

    @property
    def may_have_run(self) -> bool:
        """Whether an attempt was lost with its host, so no one knows what it did."""
        return self.lost > 0

    @property
    def is_ready(self) -> bool:
        """Whether the present attempt has been ready."""
        return self.ready_attempt == self.attempts

    def was_never_ready(self, now: float) -> bool:
        """Whether the task has had enough time and attempts to be ready, and never was."""
        ready = self.task.ready
        if ready is None or self.ready_attempt or self.attempts < MIN_ATTEMPTS_TO_BE_READY:
            return False
        return now >= self.first_started_at + ready.timeout

    def was_announced(self, condition: str) -> bool:
        """Whether dependents know since before the end of the task that this condition is met."""
        return (condition == "started" and self.has_started) or (
            condition == "ready" and self.ready_attempt > 0
        )

    def end(self, outcome: str | None) -> str:
        """How the task ended, as far as conditions ask, with this outcome."""
        allow_failure = self.task.allow_failure
        return end_of(outcome, allow_failure=allow_failure, skipped_by_when=self.skipped_by_when)

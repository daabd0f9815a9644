"""A task's way through a run: its state, its attempts, its outcome, and what follows for its dependents."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import Finish, Instruction
from mprun.scheduling.retry import FAILURES, STABLE_AFTER
from mprun.scheduling.verdict import MET_BY, end_of, unmet_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mprun.scheduling.plan import Plan, PlannedTask, Reused


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
FINISHED = TaskState.FINISHED
EXPANDED = TaskState.EXPANDED

# The executor has an attempt of the task.
DISPATCHED = (HELD, STARTING, RUNNING)
# The task has no outcome, and the executor has no attempt of it.
PENDING = (WAITING, RESOLVING, READY, PAUSED)

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
        self.skipped_by_when = skipped_by_when

    # ---- questions

    @property
    def counted(self) -> int:
        """How many of its attempts `retry` counts."""
        return self.attempts - self.replaced

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


class TaskRuns:
    """The tasks of a run by number, with their outcomes and dependencies.

    `instructions` gets a `Finish` for each outcome. `unfinished` counts the tasks without an
    outcome, except for daemons, because the run does not wait for them. `released` collects the
    tasks whose conditions are all met; the scheduler empties it. With `is_ending` no task starts any more.
    `now` is the time of the present fact.
    """

    def __init__(self, plan: Plan, instructions: list[Instruction], task_run_type: type[TaskRun]) -> None:
        self.now = 0.0
        self._priorities = priorities = plan.priorities
        self._task_run_type = task_run_type
        self.all = [
            task_run_type(number, planned, number, None if priorities is None else priorities.of(number))
            for number, planned in enumerate(plan.tasks)
        ]
        self.outcomes: list[str | None] = [None] * len(plan.tasks)
        self.expanded: set[int] = set()
        self._instances: dict[int, range] = {}
        # By number, the dependents of a task that the plan does not have: instances that select it.
        self._late_dependents: dict[int, list[tuple[int, str]]] = {}
        self.unfinished = sum(not planned.task.daemon for planned in plan.tasks)
        self.released = [task_run for task_run in self.all if not task_run.unmet]
        self.is_ending = False
        self._instructions = instructions

    def unstarted(self) -> list[tuple[int, int]]:
        """The attempts that the executor has and has not reported as started: task and attempt."""
        return [
            (task_run.number, task_run.attempts)
            for task_run in self.all
            if task_run.state in (STARTING, HELD)
        ]

    def queued(self, number: int, attempt: int) -> tuple[float, str] | None:
        """How many seconds a task with tokens was ready before this attempt started, and what it lacked.

        None if a later attempt has been dispatched since.
        """
        task_run = self.all[number]
        if task_run.attempts != attempt:
            return None
        return max(0.0, task_run.started_at - task_run.ready_at), task_run.lacked

    def finish(self, task_run: TaskRun, outcome: str, reason: str, *, skipped_by_when: bool = False) -> None:
        """Give a task its outcome; `announce_outcome` informs its dependents.

        A task that gets no other attempt after one on a lost host may have run.
        """
        if task_run.lost and outcome in NEVER_RAN:
            outcome, reason = Outcome.UNKNOWN, ITS_HOST_LOST
        task_run.finish(skipped_by_when=skipped_by_when)
        self.outcomes[task_run.number] = outcome
        self.unfinished -= not task_run.task.daemon
        self._instructions.append(
            Finish(
                task=task_run.number,
                outcome=outcome,
                attempts=task_run.attempts,
                reason=reason,
                lost=task_run.lost,
            )
        )

    def is_cancelled(self, task_run: TaskRun) -> bool:
        """Whether a task that has no attempt will not get one; it may not be finished yet."""
        return self.is_ending or task_run.stopped_by_user

    def dependents_of(self, task_run: TaskRun) -> Sequence[tuple[int, str]]:
        """The dependents of a task by number, with the condition of each."""
        late = self._late_dependents.get(task_run.number)
        return (*task_run.planned.needed_by, *late) if late else task_run.planned.needed_by

    def announce(self, task_run: TaskRun, condition: str) -> None:
        """Tell dependents that a task meets a condition before its end: it was started, or it is ready."""
        for number, awaited in self.dependents_of(task_run):
            if awaited == condition:
                self.meet_condition(self.all[number])

    def meet_condition(self, task_run: TaskRun) -> None:
        """One more condition of a task is met, if it still waits."""
        if self._awaits(task_run) and task_run.meet_condition():
            self.released.append(task_run)

    def _awaits(self, task_run: TaskRun) -> bool:
        """Whether it matters to a task what becomes of those that it depends on."""
        return task_run.state is HELD or (task_run.state is WAITING and not self.is_cancelled(task_run))

    def announce_outcome(self, task_run: TaskRun) -> None:
        """Tell dependents the outcome, and skip those that can never start because of it."""
        announcing = [task_run]
        while announcing:
            before = announcing.pop()
            end = before.end(self.outcomes[before.number])
            for number, condition in self.dependents_of(before):
                after = self.all[number]
                if not self._awaits(after) or before.was_announced(condition):
                    continue
                if end in MET_BY[condition]:
                    self.meet_condition(after)
                elif after.state is HELD:
                    after.fail_condition(unmet_reason(before.planned.name, condition))
                else:
                    self.finish(after, Outcome.SKIPPED, unmet_reason(before.planned.name, condition))
                    announcing.append(after)

    def expand(self, group: TaskRun, instances: Sequence[PlannedTask]) -> range:
        """Put instances in the place of a group; they get these numbers, and `add_instances` adds them."""
        numbers = range(len(self.outcomes), len(self.outcomes) + len(instances))
        self.outcomes += [None] * len(instances)
        self.unfinished += sum([not one.task.daemon for one in instances]) - (not group.task.daemon)
        self.expanded.add(group.number)
        self._instances[group.number] = numbers
        return numbers

    def add_instances(self, group: TaskRun, instances: Sequence[PlannedTask]) -> list[TaskRun]:
        """Add the next instances of a group that was expanded."""
        task_runs = [
            self._task_run_type(number, planned, group.position, self._instance_priority(group, planned))
            for number, planned in enumerate(instances, len(self.all))
        ]
        self.all += task_runs
        return task_runs

    def add(self, tasks: Sequence[PlannedTask]) -> list[TaskRun]:
        """Add tasks to the run; they get the next numbers, in this order."""
        added = [
            self._task_run_type(number, task, number) for number, task in enumerate(tasks, len(self.all))
        ]
        self.all += added
        self.outcomes += [None] * len(added)
        self.unfinished += sum(not task_run.task.daemon for task_run in added)
        return added

    def add_dependents(self, task_run: TaskRun, dependents: Sequence[tuple[int, str]]) -> None:
        """Add instances that depend on a task, by number, with the condition of each."""
        self._late_dependents.setdefault(task_run.number, []).extend(dependents)

    def planned(self) -> list[PlannedTask]:
        """Every task by number, with the dependents that it was given during the run."""
        found = [task_run.planned for task_run in self.all]
        for number in self._late_dependents:
            found[number] = found[number].replace(needed_by=tuple(self.dependents_of(self.all[number])))
        return found

    def needs_of(self, number: int) -> Iterable[int]:
        """The tasks that a task depends on.

        They are the instances in place of a group, and the needs of the group for an instance.
        """
        if number in self._instances:
            return self._instances[number]
        if number >= len(self.all):
            # It is added later, and has no attempt.
            return ()
        task_run = self.all[number]
        needs = [need for need, _ in task_run.planned.needs]
        if task_run.position != number:
            needs += [need for need, _ in self.all[task_run.position].planned.needs]
        return needs

    def _instance_priority(self, group: TaskRun, instance: PlannedTask) -> int | None:
        if self._priorities is None:
            return None
        return self._priorities.of_instance(group.position, instance.name)

"""The courses of the tasks through a run, their outcomes, and who waits for them; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import Finish, Instruction
from mprun.scheduling.retry import FAILURES, STABLE_AFTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.scheduling.plan import Plan, PlannedTask

# A task that turned out to be a group is EXPANDED: what it was to do, its instances do.
# One that is HELD was handed over before what it waits for has ended, to start on its success.
WAITING, RESOLVING, READY, STARTING, RUNNING, PAUSED, FINISHED, EXPANDED, HELD = range(9)

# What sorts tasks; of two, the one with the lesser key goes first. Its end is the task's number.
Key = tuple[int, ...]

# Why a task is skipped whose own condition does not hold, known before the run or not.
WHEN_IS_FALSE = "`when` is false"

# How often that is started at least which is restarted and never was ready.
FAIR_ATTEMPTS = 3

_UNMET = {
    "succeeded": "did not succeed",
    "failed": "did not fail",
    "started": "was never started",
    "ready": "was never ready",
}


def order_key(place: int, number: int, rank: int | None) -> Key:
    """The longest way to the end first, then the order of the file, which alone counts without priorities.

    Instances, which have the highest numbers, are at their group's place.
    """
    return (place, number) if rank is None else (-rank, place, number)


class TaskRun:
    """What a run knows of one task: how far it is, and what happened on the way.

    `place` is its place in the plan, or that of its group. `missing` counts the conditions
    that do not hold yet, `attempts` those that were started or handed over to be.
    `began_at` is when its first attempt started, `stop_reason` why the present one was asked
    to end, `last` the outcome and the reason of the one before, `ready_attempt` the last
    that was ready. `in_a_row` counts attempts since one that served for long, `unwanted`
    says that a user wants no more of them. `passed` is whether dependents shall see a
    success, though it never ran.
    """

    __slots__ = (
        "attempts",
        "began",
        "began_at",
        "in_a_row",
        "key",
        "last",
        "missing",
        "number",
        "passed",
        "place",
        "planned",
        "ready_attempt",
        "started_at",
        "state",
        "stop_reason",
        "task",
        "unwanted",
    )

    def __init__(self, number: int, planned: PlannedTask, place: int, rank: int | None = None) -> None:
        self.number = number
        self.planned = planned
        self.task = planned.task
        self.place = place
        self.key = order_key(place, number, rank)
        self.state = WAITING
        self.missing = len(planned.needs)
        self.attempts = self.ready_attempt = self.in_a_row = 0
        self.began = self.unwanted = self.passed = False
        self.started_at = self.began_at = 0.0
        self.stop_reason: str | None = None
        self.last: tuple[str, str] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its present attempt was seen to be ready."""
        return self.ready_attempt == self.attempts

    def pause(self, outcome: str, reason: str, now: float) -> None:
        """It waits for its next attempt; where there is none, this end is its own.

        But what is started again, and was up, has not failed: its next attempt was to heal that.
        """
        up = self.is_ready if self.task.ready is not None else now - self.started_at >= STABLE_AFTER
        if self.task.restart != "never" and self.state == RUNNING and up and outcome in FAILURES:
            outcome, reason = Outcome.STOPPED, f"{reason}, before its next start"
        self.state, self.last = PAUSED, (outcome, reason)

    def never_served(self, now: float) -> bool:
        """Whether it has had its time to be ready, over some attempts, and never was."""
        ready = self.task.ready
        if ready is None or self.ready_attempt or self.attempts < FAIR_ATTEMPTS:
            return False
        return now >= self.began_at + ready.timeout

    def was_told(self, condition: str) -> bool:
        """Whether dependents were told before its end that this condition holds."""
        return (condition == "started" and self.began) or (condition == "ready" and self.ready_attempt > 0)

    def holds(self, condition: str, outcome: str | None) -> bool:
        """Whether a condition holds by this outcome."""
        if condition == "failed":
            return outcome in FAILURES
        if self.passed or condition == "finished":
            return True
        return condition == "succeeded" and outcome == Outcome.SUCCEEDED

    def unmet(self, condition: str) -> str:
        """Why what waited for this condition is skipped."""
        return f"`{self.planned.name}` {_UNMET[condition]}"


class TaskRuns:
    """All tasks of a run by number; `instructions` gets what is to be written down of their ends.

    `unfinished` counts those without an outcome that the run waits for: all but daemons.
    `released` has those for which everything holds that they waited for, until somebody
    takes them from there.
    """

    def __init__(self, plan: Plan, instructions: list[Instruction]) -> None:
        tasks, self._priorities = plan.tasks, plan.priorities
        self.all = [
            TaskRun(
                number, planned, number, None if self._priorities is None else self._priorities.of(number)
            )
            for number, planned in enumerate(tasks)
        ]
        self.outcomes: list[str | None] = [None] * len(tasks)
        self.expanded: set[int] = set()
        self.unfinished = sum(not planned.task.daemon for planned in tasks)
        self.released = [course for course in self.all if not course.missing]
        self._instructions = instructions

    def cancel_the_rest(self, reason: str) -> None:
        """What never started is cancelled; what waits for its next attempt ended as its last."""
        for course in self.all:
            if course.state in (WAITING, RESOLVING, READY, PAUSED):
                self.settle(course, *(course.last or (Outcome.CANCELLED, reason)))

    def unstarted(self) -> list[tuple[int, int]]:
        """The attempts of which nobody has said that they have started: task and number."""
        return [(course.number, course.attempts) for course in self.all if course.state in (STARTING, HELD)]

    def tell(self, course: TaskRun, condition: str) -> None:
        """Something holds of a task that goes on: it was started, it is ready."""
        for number, awaited in course.planned.needed_by:
            if awaited == condition:
                self._one_less(self.all[number])

    def settle(self, course: TaskRun, outcome: str, reason: str, *, passed: bool = False) -> None:
        """Give a task its outcome; `tell_end` is what follows from it."""
        course.state = FINISHED
        course.passed = passed
        self.outcomes[course.number] = outcome
        self.unfinished -= not course.task.daemon
        self._instructions.append(
            Finish(task=course.number, outcome=outcome, attempts=course.attempts, reason=reason)
        )

    def settle_known(self, courses: Sequence[TaskRun]) -> list[int]:
        """Settle what is known before anything starts; the numbers of those that an earlier run ended.

        These, and what is to be skipped whatever happens.
        """
        known = [course for course in courses if course.planned.reused or course.planned.skipped]
        for course in known:
            reused = course.planned.reused
            if reused is not None:
                course.attempts = reused.attempts
                passed = reused.outcome in (Outcome.SUCCEEDED, Outcome.SKIPPED)
                self.settle(course, reused.outcome, reused.reason, passed=passed)
            else:
                self.settle(course, Outcome.SKIPPED, WHEN_IS_FALSE, passed=True)
        # All of them before what follows from one: whatever it needs, its own end counts.
        for course in known:
            self.tell_end(course)
        return [course.number for course in known if course.planned.reused]

    def tell_end(self, course: TaskRun) -> None:
        """Count its outcome for every task that waited for it, and skip what can now never start."""
        settled = [course]
        while settled:
            before = settled.pop()
            outcome = self.outcomes[before.number]
            for number, condition in before.planned.needed_by:
                after = self.all[number]
                if after.state not in (WAITING, HELD) or before.was_told(condition):
                    continue
                if before.holds(condition, outcome):
                    self._one_less(after)
                elif after.state == HELD:
                    # Whoever holds it will say that it does not start it.
                    if after.stop_reason is None and after.last is None:
                        after.last = Outcome.SKIPPED, before.unmet(condition)
                else:
                    self.settle(after, Outcome.SKIPPED, before.unmet(condition))
                    settled.append(after)

    def expand(self, group: TaskRun, instances: Sequence[PlannedTask]) -> list[int]:
        """Put a group's instances in its place, at least one; their numbers."""
        group.state = EXPANDED
        self.expanded.add(group.number)
        for after, _ in group.planned.needed_by:
            self.all[after].missing += len(instances) - 1
        first = len(self.all)
        courses = [
            TaskRun(number, planned, group.place, self._rank(group, planned))
            for number, planned in enumerate(instances, first)
        ]
        self.all += courses
        self.released += courses
        self.outcomes += [None] * len(courses)
        self.unfinished += sum(not course.task.daemon for course in courses) - (not group.task.daemon)
        return [course.number for course in courses]

    def _rank(self, group: TaskRun, instance: PlannedTask) -> int | None:
        return None if self._priorities is None else self._priorities.of_instance(group.place, instance.name)

    def _one_less(self, course: TaskRun) -> None:
        course.missing -= 1
        if course.missing == 0:
            self.released.append(course)

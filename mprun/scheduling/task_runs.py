"""All tasks of a run: their outcomes, and what follows from these for the tasks that depend on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import Finish, Instruction
from mprun.scheduling.task_run import HELD, ITS_HOST_LOST, NEVER_RAN, STARTING, WAITING
from mprun.scheduling.verdict import MET_BY, unmet_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.task_run import TaskRun


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
        if task_run.may_have_run and outcome in NEVER_RAN:
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
                excused=task_run.attempts - task_run.tries,
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

"""Takes the tasks of one use of a recipe as one: its `timeout` and its `retry` are for all of them together.

A round is one attempt of all tasks of a recipe. Until its last round is over, a task that has ended is only
settled: tasks of the recipe see how it ended, others do not. A round is over once all of its tasks are
settled, daemons aside. The timeout of the recipe ends a round early, and so does a failure if another round
follows: what runs is asked to end in the usual order. The next round begins with all tasks as they were at
first; their attempts are numbered on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import RECIPE_TIMEOUT, Instruction, ScheduleRetry
from mprun.scheduling.member_runs import FAILED, MemberRun, MemberRuns, may_fail_alone, settled_outcome
from mprun.scheduling.retry import FAILURES, HOST_LOST, RECIPE, RETRY, delay
from mprun.scheduling.task_run import (
    DISPATCHED,
    EXPANDED,
    FINISHED,
    RESOLVING,
    SETTLED,
    TaskRun,
)
from mprun.scheduling.timers import Timers
from mprun.scheduling.verdict import MET_BY, unmet_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.jobfile.model import Whole

# Why a task is asked to end, or does not start: its round has failed, and another one follows.
RECIPE_FAILED = "recipe_failed"

# What the timers are for.
_TIMEOUT, _NEXT_ROUND = range(2)

# The executor has an attempt, or the engine will answer: the next round would not tell that from its own.
_BUSY = (*DISPATCHED, RESOLVING)


# By the number of a group that was expanded: by that of a task, the instances on which it depends, None for
# one that is not added yet.
_Instances: TypeAlias = "dict[int, dict[int, list[tuple[TaskRun | None, str]]]]"


class _Group:
    """The tasks of one use of a recipe; `round` counts from 1."""

    def __init__(self, number: int, whole: Whole) -> None:
        self.number = number
        self.whole = whole
        self.members: list[TaskRun] = []
        self.round = 1
        # How many tasks of the round, daemons aside, are not settled; whether one has failed that must not.
        self.left = 0
        self.has_failed = False
        # The tasks that were busy when the round began to end; the last one may not be any more.
        self.awaited: list[TaskRun] = []
        # When the timer of the round strikes, if it is set; whether it has, and only reports may be late,
        # and whether a task, daemons aside, had not ended by then.
        self.due: float | None = None
        self.is_in_doubt = self.has_timed_out = False
        # Whether the round is being ended, and the next one is due after its delay; whether none may follow,
        # and the last one is over.
        self.is_ending = self.is_paused = self.is_last = self.is_over = False

    def is_in_time(self, now: float) -> bool:
        """Whether an end at this time comes before the timeout."""
        return self.due is not None and now < self.due


class Rounds:
    """Decides when a round of a recipe is over, and whether another one follows.

    `stop` asks attempts to end in order, `forget` takes tasks out of what is about to start.
    """

    def __init__(
        self,
        task_runs: MemberRuns,
        instructions: list[Instruction],
        random: Callable[[], float],
        stop: Callable[[list[TaskRun], str], None],
        forget: Callable[[list[TaskRun]], None],
    ) -> None:
        self._task_runs = task_runs
        self.timers = Timers()
        self._instructions = instructions
        self._random = random
        self._stop = stop
        self._forget = forget
        self._groups: list[_Group] = []
        self._by_name: dict[str, _Group] = {}
        # The groups in which something has happened.
        self._changed: dict[int, _Group] = {}
        # The tasks that are settled, or were until their last round was over.
        self._settled: set[int] = set()
        for task_run in task_runs.all:
            if task_run.task.whole is not None:
                self._group_for(task_run.task.whole).members.append(task_run)
        for group in self._groups:
            group.left = sum(not run.task.daemon for run in group.members)
            # It is reused as it is, or nothing of it runs.
            group.is_over = all(
                run.planned.reused or run.planned.skipped for run in group.members if not run.task.daemon
            )

    def _group_for(self, whole: Whole) -> _Group:
        group = self._by_name.get(whole.name)
        if group is None:
            group = self._by_name[whole.name] = _Group(len(self._groups), whole)
            self._groups.append(group)
        return group

    def _group(self, task_run: TaskRun) -> _Group | None:
        """The group of a task whose last round is not over."""
        whole = task_run.task.whole
        group = None if whole is None else self._by_name[whole.name]
        return None if group is None or group.is_over else group

    # ---- questions of others

    def is_open(self, task_run: TaskRun) -> bool:
        """Whether the outcome of a task waits for others."""
        return self._group(task_run) is not None and not self._task_runs.is_ending

    def is_ending(self, task_run: TaskRun) -> bool:
        """Whether the present round of a task gets no further attempt."""
        group = self._group(task_run)
        if group is None:
            return False
        return group.is_ending or (group.is_in_doubt and not task_run.task.daemon)

    def informs(self, task_run: TaskRun, other: TaskRun) -> bool:
        """Whether a task may tell a dependent now how far it is, and has not done so before."""
        inside = other.task.whole is not None and other.task.whole is task_run.task.whole
        if self._group(task_run) is not None:
            return inside
        return not inside or task_run.number not in self._settled

    def is_last(self, task_run: TaskRun) -> bool:
        """Whether no other round follows if this task has failed."""
        group = self._group(task_run)
        return group is None or not self._may_retry(group)

    # ---- facts

    def refuse_rounds(self, task_run: TaskRun) -> None:
        """Something of an attempt may not be over: no other round of its recipe follows."""
        if (group := self._group(task_run)) is not None:
            group.is_last = True

    def note_settled(self, task_run: TaskRun) -> None:
        """A task was settled; `advance` looks at its group."""
        self._settled.add(task_run.number)
        if (group := self._group(task_run)) is not None:
            group.left -= not task_run.task.daemon
            if group.is_in_doubt and not task_run.task.daemon and not group.is_in_time(self._task_runs.now):
                group.has_timed_out = True
            must_not = group.whole.allow_failure or not task_run.task.allow_failure
            if must_not and settled_outcome(task_run) in FAILED and not task_run.planned.reused:
                group.has_failed = True
            self._changed[group.number] = group

    def note_stopped(self, task_run: TaskRun) -> None:
        """A user has stopped a task that is settled; `advance` looks at its group."""
        if (group := self._group(task_run)) is not None:
            self._changed[group.number] = group

    def handle_started(self, task_run: TaskRun) -> None:
        """An attempt has a process: the first one of a round sets its timer."""
        group = self._group(task_run)
        if group is not None and group.whole.timeout is not None and group.due is None:
            group.due = self._task_runs.now + group.whole.timeout
            self.timers.set(group.due, _TIMEOUT, group.number, group.round)

    def handle_over(self, task_run: TaskRun) -> None:
        """An attempt has ended, now: if that was in time for its round, it was not asked to end."""
        group = self._group(task_run)
        if group is not None and group.is_in_time(self._task_runs.now):
            cast(MemberRun, task_run).end_in_time()

    def note_cut_off(self, task_run: TaskRun) -> None:
        """Its round gets no further attempt of a task, which would have had one."""
        if (group := self._group(task_run)) is not None and group.is_in_doubt:
            group.has_timed_out = True

    def handle_timers(self) -> None:
        """Timers of rounds may be due."""
        while (timer := self.timers.pop(self._task_runs.now)) is not None:
            kind, number, of_round = timer
            group = self._groups[number]
            if group.is_over or group.round != of_round or self._task_runs.is_ending:
                continue
            if kind == _NEXT_ROUND:
                self._begin_round(group)
            elif not group.is_ending:
                self._handle_timeout(group)

    def withdraw(self, task_run: TaskRun) -> None:
        """Settle a task that was resolved too late for its round, unless it was finished in the meantime."""
        if task_run.accept_answer() and not self._task_runs.is_ending:
            group = self._group(task_run)
            timed_out = group is not None and group.has_timed_out
            self._settle(task_run, RECIPE_TIMEOUT if timed_out else RECIPE_FAILED)

    def advance(self) -> list[TaskRun]:
        """End rounds that have failed, and conclude those that are over; the tasks that have outcomes now."""
        concluded: list[TaskRun] = []
        while self._changed and not self._task_runs.is_ending:
            _, group = self._changed.popitem()
            if group.is_over:
                continue
            if group.is_ending:
                concluded += self._continue(group)
            elif group.has_timed_out:
                self._end_round(group, RECIPE_TIMEOUT)
            elif self._has_failed(group) and self._may_retry(group):
                self._end_round(group, RECIPE_FAILED)
            elif not group.left:
                concluded += self._conclude(group)
        return concluded

    # ---- one round

    def _has_failed(self, group: _Group) -> bool:
        """Whether the present round has timed out, or a task of it has failed that must not."""
        return group.has_timed_out or group.has_failed

    def _may_retry(self, group: _Group) -> bool:
        """Whether another round may follow; not if a user has stopped one of the tasks."""
        if group.is_last or group.round > group.whole.retry.retries:
            return False
        return not any(run.stopped_by_user for run in group.members)

    def _handle_timeout(self, group: _Group) -> None:
        """The time of a round has passed. What runs may have ended in time, so daemons are asked after it."""
        ends_of = (*_BUSY, SETTLED, FINISHED, EXPANDED)
        tasks = [run for run in group.members if not run.task.daemon]
        if any(run.state is RESOLVING or run.state not in ends_of for run in tasks):
            group.has_timed_out = True
            self._end_round(group, RECIPE_TIMEOUT)
        else:
            group.is_in_doubt = True
            self._stop([run for run in tasks if run.state in DISPATCHED], RECIPE_TIMEOUT)

    def _end_round(self, group: _Group, reason: str) -> None:
        """Start nothing more of this round, and ask what runs to end."""
        group.is_ending = True
        self._changed[group.number] = group
        self._forget([run for run in group.members if run.state not in (*_BUSY, SETTLED)])
        for task_run in group.members:
            if task_run.state not in (*_BUSY, SETTLED, FINISHED, EXPANDED):
                self._settle(task_run, reason)
        # None becomes busy again in this round.
        group.awaited = [run for run in group.members if run.state in _BUSY]
        self._stop([run for run in group.awaited if run.state in DISPATCHED], reason)

    def _settle(self, task_run: TaskRun, reason: str) -> None:
        end = task_run.pending_outcome
        if end is None or (reason == RECIPE_TIMEOUT and may_fail_alone(task_run.task)):
            end = (Outcome.CANCELLED, reason)
        self._task_runs.finish(task_run, *end)

    def _continue(self, group: _Group) -> list[TaskRun]:
        """Let the next round follow once nothing of the present one is left; else the tasks have outcomes."""
        while group.awaited and group.awaited[-1].state not in _BUSY:
            group.awaited.pop()
        if group.awaited:
            return []
        if not (self._has_failed(group) and self._may_retry(group)):
            return self._conclude(group)
        if not group.is_paused:
            group.is_paused = True
            seconds = delay(group.whole.retry, group.round, self._random)
            for task_run in group.members:
                if cast(MemberRun, task_run).has_had_turn and not task_run.planned.reused:
                    self._instructions.append(
                        ScheduleRetry(
                            task=task_run.number,
                            attempt=task_run.attempts + 1,
                            delay=seconds,
                            reason=_reason_for_another(task_run),
                        )
                    )
            self.timers.set(self._task_runs.now + seconds, _NEXT_ROUND, group.number, group.round)
        return []

    def _begin_round(self, group: _Group) -> None:
        group.round += 1
        group.due = None
        group.is_in_doubt = group.has_timed_out = group.is_ending = group.is_paused = False
        group.has_failed = False
        self._changed[group.number] = group
        again = [run for run in group.members if not (run.planned.reused or run.planned.skipped)]
        self._settled.difference_update(run.number for run in again)
        inside = {run.number for run in again}
        group.left = sum(not run.task.daemon for run in again)
        instances = self._instances_for(inside, again)
        hopeless: list[tuple[TaskRun, str]] = []
        for task_run in again:
            unmet, problem = self._unmet(task_run, inside, instances)
            cast(MemberRun, task_run).begin_round(unmet)
            if problem:
                hopeless.append((task_run, problem))
            elif not unmet:
                self._task_runs.released.append(task_run)
        for task_run, problem in hopeless:
            if task_run.state is SETTLED:
                # One before it has told it.
                continue
            self._task_runs.finish(task_run, Outcome.SKIPPED, problem)
            self._task_runs.announce_outcome(task_run)

    def _unmet(self, task_run: TaskRun, inside: set[int], instances: _Instances) -> tuple[int, str]:
        """How many conditions of a task are not met when a round begins; why one never will be, if so."""
        unmet, problem = 0, ""
        for before, condition in self._conditions(task_run, instances):
            if before is None or before.number in inside or not self.informs(before, task_run):
                unmet += 1
            elif before.was_announced(condition):
                continue
            elif before.state not in (FINISHED, SETTLED):
                unmet += 1
            elif before.end(self._task_runs.outcomes[before.number]) not in MET_BY[condition]:
                problem = unmet_reason(before.planned.name, condition)
        return unmet, problem

    def _conditions(self, task_run: TaskRun, instances: _Instances) -> Iterator[tuple[TaskRun | None, str]]:
        """What a task depends on: instances in place of a group, None for one that is not added yet."""
        for number, condition in task_run.planned.needs:
            if number in instances:
                yield from instances[number].get(task_run.number, ())
            else:
                yield self._task_runs.all[number], condition

    def _instances_for(self, inside: set[int], again: list[TaskRun]) -> _Instances:
        """Of each group that tasks depend on, the instances that each of them depends on, with the condition.

        For all of them at once: each of many tasks may depend on each of many instances.
        """
        task_runs = self._task_runs
        groups = {number for run in again for number, _ in run.planned.needs}
        found: _Instances = {n: {} for n in groups if task_runs.all[n].state is EXPANDED}
        for number, by_task in found.items():
            for one in task_runs.needs_of(number):
                if one >= len(task_runs.all):
                    for run in again:
                        if any(need == number for need, _ in run.planned.needs):
                            by_task.setdefault(run.number, []).append((None, ""))
                    continue
                for after, awaited in task_runs.all_dependents_of(task_runs.all[one]):
                    if after in inside:
                        by_task.setdefault(after, []).append((task_runs.all[one], awaited))
        return found

    def _conclude(self, group: _Group) -> list[TaskRun]:
        """The last round is over: its tasks have their outcomes, and tell the others; returns these tasks."""
        group.is_over = True
        settled = [run for run in group.members if run.state is SETTLED]
        for task_run in settled:
            if task_run.task.daemon:
                # It does not serve any more.
                cast(MemberRun, task_run).retract_start()
            outcome, reason = task_run.pending_outcome or (Outcome.CANCELLED, "")
            self._task_runs.finish(task_run, outcome, reason)
        for task_run in group.members:
            self._announce_start(task_run)
        for task_run in settled:
            self._task_runs.announce_outcome(task_run)
        return settled

    def _announce_start(self, task_run: TaskRun) -> None:
        """Tell those outside of the recipe what those inside know: that a task was started, or is ready."""
        for number, condition in self._task_runs.all_dependents_of(task_run):
            other = self._task_runs.all[number]
            if other.task.whole is not task_run.task.whole and task_run.was_announced(condition):
                self._task_runs.meet_condition(other)


def _reason_for_another(task_run: TaskRun) -> str:
    """Why a task has another attempt in the next round."""
    outcome = settled_outcome(task_run)
    if outcome == Outcome.UNKNOWN and task_run.may_have_run:
        return HOST_LOST
    return RETRY if outcome in FAILURES else RECIPE

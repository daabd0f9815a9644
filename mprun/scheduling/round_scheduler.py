"""The scheduler of a run with recipes that are taken as one; no other run loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import FAIL_FAST, RECIPE_TIMEOUT
from mprun.scheduling.member_runs import MemberRun, MemberRuns, may_fail_alone
from mprun.scheduling.retry import FAILURES
from mprun.scheduling.rounds import Rounds
from mprun.scheduling.scheduler import Scheduler
from mprun.scheduling.task_run import READY, RESOLVING, SETTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.plan import Plan, PlannedTask, Reused
    from mprun.scheduling.retry import AttemptResult
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.task_runs import TaskRuns

# The outcomes of attempts that do not tell that they ended after the timeout of their recipe.
_NOT_LATE = (Outcome.STOPPED, Outcome.SUCCEEDED)


class RoundScheduler(Scheduler):
    """A scheduler that has `Rounds` decide about the recipes that are taken as one."""

    task_run_type: ClassVar[type[TaskRun]] = MemberRun
    task_runs_type: ClassVar[type[TaskRuns]] = MemberRuns
    has_rounds: ClassVar[bool] = True

    _task_runs: MemberRuns

    def __init__(
        self, plan: Plan, random: Callable[[], float] = lambda: 0.0, *more: Any, **named: Any
    ) -> None:
        # No task is held for one whose success is not final.
        super().__init__(plan, random, *more, **{**named, "max_held": 0})
        self._rounds = self._task_runs.rounds = Rounds(
            self._task_runs, self._instructions, random, self._stop_members, self._forget_members
        )

    @property
    def deadline(self) -> float | None:
        """When `handle_deadline` is due next, on the caller's clock; None if nothing is timed."""
        due = [one for one in (super().deadline, self._rounds.timers.first) if one is not None]
        return min(due, default=None)

    # ---- facts

    def handle_deadline(self, now: float) -> list[Instruction]:
        """The clock has reached `deadline`; an earlier time does no harm."""
        self._task_runs.now = now
        self._rounds.handle_timers()
        return super().handle_deadline(now)

    def handle_started(self, task: int, now: float) -> list[Instruction]:
        """An attempt has a process."""
        self._task_runs.now = now
        self._rounds.handle_started(self._task_runs.all[task])
        return super().handle_started(task, now)

    def handle_exited(self, task: int, result: AttemptResult, now: float) -> list[Instruction]:
        """An attempt has ended, or could not be started."""
        self._task_runs.now = now
        self._rounds.handle_over(self._task_runs.all[task])
        return super().handle_exited(task, result, now)

    def handle_resolved(self, task: int, now: float) -> list[Instruction]:
        """The engine knows what the task refers to."""
        return super().handle_resolved(task, now) if self._is_wanted(task) else self._withdraw(task, now)

    def handle_skipped(self, task: int, reason: str, now: float) -> list[Instruction]:
        """The task's `when` turned out to be false; its dependents see that as a success."""
        return (
            super().handle_skipped(task, reason, now) if self._is_wanted(task) else self._withdraw(task, now)
        )

    def handle_resolve_failed(self, task: int, reason: str, now: float) -> list[Instruction]:
        """The task refers to something that does not exist."""
        if self._is_wanted(task):
            return super().handle_resolve_failed(task, reason, now)
        return self._withdraw(task, now)

    def handle_unchanged(self, task: int, reused: Reused, now: float) -> list[Instruction]:
        """The task would do again what an earlier run has done."""
        if self._is_wanted(task):
            return super().handle_unchanged(task, reused, now)
        return self._withdraw(task, now)

    def handle_host_lost(
        self, task: int, reason: str, now: float, *, began: bool = True, is_over: bool = True
    ) -> list[Instruction]:
        """An attempt was lost with its host: no one saw how it ended, unless it never `began`."""
        if not is_over:
            self._rounds.refuse_rounds(self._task_runs.all[task])
        return super().handle_host_lost(task, reason, now, began=began, is_over=is_over)

    def handle_expanded(self, task: int, instances: Sequence[PlannedTask], now: float) -> list[Instruction]:
        """The task turned out to be a group."""
        if self._is_wanted(task):
            return super().handle_expanded(task, instances, now)
        return self._withdraw(task, now)

    def _is_wanted(self, task: int) -> bool:
        """Whether an answer about a task is of use to its round."""
        task_run = self._task_runs.all[task]
        return task_run.state is not RESOLVING or not self._rounds.is_ending(task_run)

    def _withdraw(self, task: int, now: float) -> list[Instruction]:
        """An answer came too late for its round, and the next one may have waited for it."""
        self._task_runs.now = now
        self._rounds.withdraw(self._task_runs.all[task])
        return self._decide()

    # ---- decisions

    def _continue(
        self, task_run: TaskRun, outcome: str, reason: str, again: str | None, result: AttemptResult
    ) -> list[Instruction]:
        if task_run.stop_reason == RECIPE_TIMEOUT and not task_run.task.daemon:
            if may_fail_alone(task_run.task):
                # What is stopped fails the run, even with `allow_failure`.
                outcome, reason = Outcome.STOPPED, RECIPE_TIMEOUT
            elif outcome in _NOT_LATE:
                outcome, reason = Outcome.TIMED_OUT, RECIPE_TIMEOUT
        if again is not None and self._rounds.is_ending(task_run):
            self._rounds.note_cut_off(task_run)
            again = None
        return super()._continue(task_run, outcome, reason, again, result)

    def _finish(self, task_run: TaskRun, outcome: str, reason: str, *, skipped_by_when: bool = False) -> None:
        if not self._rounds.is_open(task_run):
            super()._finish(task_run, outcome, reason, skipped_by_when=skipped_by_when)
            return
        if task_run.state is SETTLED:
            # A user has stopped it; those inside know how it ended.
            self._rounds.note_stopped(task_run)
            return
        self._task_runs.finish(task_run, outcome, reason, skipped_by_when=skipped_by_when)
        self._task_runs.announce_outcome(task_run)
        if outcome in FAILURES and self._rounds.is_last(task_run):
            self._end_if_failed(task_run, outcome)

    def _decide(self) -> list[Instruction]:
        for task_run in self._rounds.advance():
            self._end_if_failed(task_run, self.outcomes[task_run.number])
        return super()._decide()

    def _end_if_failed(self, task_run: TaskRun, outcome: str | None) -> None:
        """End the run with `fail_fast` for a failure after which no other round follows."""
        if outcome in FAILURES and self._plan.job.fail_fast and not task_run.task.allow_failure:
            self._termination.end_run(FAIL_FAST, self._task_runs.now)

    def _stop_members(self, task_runs: list[TaskRun], reason: str) -> None:
        self._termination.stop(task_runs, reason, self._task_runs.now)

    def _forget_members(self, task_runs: list[TaskRun]) -> None:
        """These tasks start no attempt in the present round."""
        self._ready_queue.remove([task_run for task_run in task_runs if task_run.state is READY])
        numbers = {task_run.number for task_run in task_runs}
        for waiting in (self._released.backlog, self._task_runs.released):
            waiting[:] = [task_run for task_run in waiting if task_run.number not in numbers]

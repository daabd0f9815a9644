"""The state of tasks of which some are in recipes that are taken as one, and who may know of it when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from mprun.outcomes import Outcome
from mprun.scheduling.instructions import RECIPE_TIMEOUT, Instruction
from mprun.scheduling.retry import FAILURES
from mprun.scheduling.task_run import (
    ITS_HOST_LOST,
    MIN_ATTEMPTS_TO_BE_READY,
    NEVER_RAN,
    SETTLED,
    WAITING,
    TaskRun,
)
from mprun.scheduling.task_runs import TaskRuns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import Task

# The outcomes after which another round may follow.
FAILED = (*FAILURES, Outcome.UNKNOWN)


class Settle(Instruction):
    """Note how a task has ended, for others of its recipe; it is final if a `Finish` follows."""

    outcome: str
    attempts: int


class MemberRun(TaskRun):
    """A task that may be part of a recipe that is taken as one. Its methods are events of the table, too."""

    __slots__ = ("earlier_end", "excused", "in_earlier_rounds", "lost_in_earlier_rounds")

    def __init__(self, *planned: Any) -> None:
        super().__init__(*planned)
        # How many attempts it had in earlier rounds, and how many of these did not fail themselves.
        self.in_earlier_rounds = self.excused = self.lost_in_earlier_rounds = 0
        # Outcome and reason of its last attempt in an earlier round.
        self.earlier_end: tuple[str, str] | None = None

    @property
    def tries(self) -> int:
        """How many of its attempts count for the question whether it is flaky."""
        return super().tries - self.excused

    @property
    def has_had_turn(self) -> bool:
        """Whether it has had an attempt in this round."""
        return self.attempts > self.in_earlier_rounds

    @property
    def may_have_run(self) -> bool:
        """Whether an attempt of this round was lost with its host."""
        return self.lost > self.lost_in_earlier_rounds

    def was_never_ready(self, now: float) -> bool:
        """Whether the task has had enough time and attempts in this round to be ready, and never was."""
        enough = self.attempts - self.in_earlier_rounds >= MIN_ATTEMPTS_TO_BE_READY
        return enough and super().was_never_ready(now)

    def end_in_time(self) -> None:
        """The attempt ended before the timeout of its recipe, so it was not asked to end for that."""
        if self.stop_reason == RECIPE_TIMEOUT:
            self.stop_reason = None

    def settle(self, outcome: str, reason: str, *, skipped_by_when: bool = False) -> None:
        """The task has ended in this round of its recipe; this is its outcome if it is the last one."""
        self.state, self.pending_outcome = SETTLED, (outcome, reason)
        self.skipped_by_when |= skipped_by_when

    def begin_round(self, unmet: int) -> None:
        """All of its recipe runs again: the task waits for so many conditions, as if it had never run."""
        if self.has_had_turn:
            self.earlier_end = self.pending_outcome
            self.excused += settled_outcome(self) not in FAILED
        self.state, self.unmet = WAITING, unmet
        self.lost_in_earlier_rounds = self.lost
        # `retry` counts the attempts of a round.
        self.replaced = self.in_earlier_rounds = self.attempts
        self.ready_attempt = self.unstable_attempts = 0
        self.has_started = self.skipped_by_when = False
        self.stop_reason = self.pending_outcome = None

    def end_unstarted(self, reason: str) -> tuple[str, str]:
        """Outcome and reason if no attempt of this round, and of no other one, will start for this reason.

        It is cancelled only if it never had an attempt. What an earlier round made is not to be used alone.
        """
        if self.earlier_end is None or self.has_had_turn:
            return Outcome.CANCELLED, reason
        return (Outcome.STOPPED, reason) if self.earlier_end[0] == Outcome.SUCCEEDED else self.earlier_end

    def retract_start(self) -> None:
        """The daemon has ended before its recipe was over, so it serves no one outside."""
        self.has_started, self.ready_attempt = False, 0

    def end(self, outcome: str | None) -> str:
        """How the task ended, as far as conditions ask, with this outcome; None if it is settled."""
        return super().end(settled_outcome(self) if outcome is None else outcome)


class Openness(Protocol):
    """Says of which recipes the last round is not over."""

    def is_open(self, task_run: TaskRun) -> bool:
        """Whether the outcome of a task waits for others."""

    def informs(self, task_run: TaskRun, other: TaskRun) -> bool:
        """Whether a task may tell a dependent now how far it is, and has not done so before."""

    def note_settled(self, task_run: TaskRun) -> None:
        """A task was settled."""


class MemberRuns(TaskRuns):
    """The tasks of a run of which some are parts of recipes that are taken as one."""

    rounds: Openness

    def finish(self, task_run: TaskRun, outcome: str, reason: str, *, skipped_by_when: bool = False) -> None:
        """Give a task its outcome, or settle it if its last round is not over."""
        if outcome == Outcome.CANCELLED and reason == RECIPE_TIMEOUT:
            # What is cancelled or stopped fails the run, even with `allow_failure`.
            unstarted = Outcome.STOPPED if task_run.attempts else Outcome.CANCELLED
            outcome = unstarted if may_fail_alone(task_run.task) else Outcome.SKIPPED
        if not self.rounds.is_open(task_run):
            if outcome == Outcome.CANCELLED:
                outcome, reason = cast("MemberRun", task_run).end_unstarted(reason)
            super().finish(task_run, outcome, reason, skipped_by_when=skipped_by_when)
            return
        if task_run.may_have_run and outcome in NEVER_RAN:
            outcome, reason = Outcome.UNKNOWN, ITS_HOST_LOST
        cast("MemberRun", task_run).settle(outcome, reason, skipped_by_when=skipped_by_when)
        self._instructions.append(Settle(task=task_run.number, outcome=outcome, attempts=task_run.attempts))
        self.rounds.note_settled(task_run)

    def dependents_of(self, task_run: TaskRun) -> Sequence[tuple[int, str]]:
        """The dependents that may know now how far a task is; see `Openness.informs`."""
        found = self.all_dependents_of(task_run)
        if task_run.task.whole is None:
            return found
        return [pair for pair in found if self.rounds.informs(task_run, self.all[pair[0]])]

    def all_dependents_of(self, task_run: TaskRun) -> Sequence[tuple[int, str]]:
        """All dependents of a task by number, with the condition of each."""
        return super().dependents_of(task_run)


def may_fail_alone(task: Task) -> bool:
    """Whether a failure of this task is allowed, but not one of all of its recipe."""
    return task.allow_failure and not (task.whole is not None and task.whole.allow_failure)


def settled_outcome(task_run: TaskRun) -> str | None:
    """The outcome that a settled task has if no other round follows."""
    return None if task_run.pending_outcome is None else task_run.pending_outcome[0]

"""Decides how a run ended: its outcome, exit code and reason; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.engine.signals import signal_name
from mprun.frozen import Frozen
from mprun.outcomes import BAD, EXIT_FAILED, EXIT_INTERNAL, EXIT_SUCCEEDED, Outcome
from mprun.scheduling.instructions import FAIL_FAST, RUN_TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from mprun.scheduling.plan import PlannedTask


class RunOutcome(Frozen):
    """How a run ended; `reason` is empty if the outcomes of its tasks say it."""

    outcome: str
    exit_code: int
    reason: str = ""


def run_outcome(
    tasks: Sequence[PlannedTask],
    task_outcomes: Sequence[str | None],
    *,
    stopped: Collection[int] = (),
    end_reason: str | None = None,
    signal: int | None = None,
    failure: str = "",
) -> RunOutcome:
    """The outcome of a run, by what counts most: a failure of mprun itself, a signal, the tasks.

    `task_outcomes` has None for a task that was expanded. `stopped` are the numbers of the
    tasks that were stopped by request, `end_reason` says why the scheduler ended the run early,
    `signal` is the one that stopped it.
    """
    if failure:
        return RunOutcome(outcome=Outcome.FAILED, exit_code=EXIT_INTERNAL, reason=failure)
    if signal is not None:
        return RunOutcome(outcome=Outcome.INTERRUPTED, exit_code=128 + signal, reason=signal_name(signal))
    if end_reason in (FAIL_FAST, RUN_TIMED_OUT):
        return RunOutcome(outcome=Outcome.FAILED, exit_code=EXIT_FAILED, reason=end_reason)
    if _has_failed(tasks, task_outcomes, stopped):
        return RunOutcome(outcome=Outcome.FAILED, exit_code=EXIT_FAILED)
    return RunOutcome(outcome=Outcome.SUCCEEDED, exit_code=EXIT_SUCCEEDED)


def _has_failed(
    tasks: Sequence[PlannedTask], task_outcomes: Sequence[str | None], stopped: Collection[int]
) -> bool:
    """Whether a task failed whose failure counts, or was stopped although the run was not."""
    return any(task_outcomes[number] != Outcome.SUCCEEDED for number in stopped) or any(
        outcome == Outcome.UNKNOWN or (outcome in BAD and not planned.task.allow_failure)
        for planned, outcome in zip(tasks, task_outcomes, strict=True)
    )


def count_outcomes(task_outcomes: Iterable[str | None]) -> dict[str, int]:
    """How many tasks had each outcome."""
    counts: dict[str, int] = {}
    for outcome in filter(None, task_outcomes):
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts

"""Finishes tasks whose outcome is known before they run: of an earlier run, or because `when` is false."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.task_run import WHEN_IS_FALSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.scheduling.join_order import JoinOrder
    from mprun.scheduling.plan import Reused
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.task_runs import TaskRuns


def finish_known(known: Sequence[TaskRun], task_runs: TaskRuns, join_order: JoinOrder) -> None:
    """Finish these tasks: each is reused, or skipped by its `when`. Reused ones are not joined."""
    for task_run in known:
        reused = task_run.planned.reused
        if reused is None:
            task_runs.finish(task_run, Outcome.SKIPPED, WHEN_IS_FALSE, skipped_by_when=True)
        else:
            task_run.reuse(reused)
            skipped = reused.outcome == Outcome.SKIPPED
            task_runs.finish(task_run, reused.outcome, reused.reason, skipped_by_when=skipped)
            join_order.leave_out(task_run.number)
    # All of them first: the outcome of a task that is known does not depend on its dependencies.
    for task_run in known:
        task_runs.announce_outcome(task_run)


def finish_unchanged(task_run: TaskRun, reused: Reused, task_runs: TaskRuns, join_order: JoinOrder) -> None:
    """Finish a task as an earlier run did, because it would do the same again. It is not joined."""
    task_run.reuse(reused)
    task_runs.finish(task_run, reused.outcome, reused.reason)
    join_order.leave_out(task_run.number)
    task_runs.announce_outcome(task_run)

"""What becomes of tasks whose attempts are lost: with their host, the executor, or their reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.retry import HOST_LOST, RESTART, AttemptResult, allows
from mprun.scheduling.task_run import DISPATCHED, RUNNING

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.scheduling.dispatch import Dispatcher, ReleasedTasks
    from mprun.scheduling.join_order import JoinOrder
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.task_runs import TaskRuns

# How many attempts that were lost with their hosts a job with `on_host_lost: rerun` replaces for each task:
# more would be the work of a task that kills its hosts. The same number as that of dask's own tasks.
MAX_RERUNS = 3


class Losses:
    """Takes attempts back from the dispatcher that will not be reported any more."""

    def __init__(
        self, task_runs: TaskRuns, dispatcher: Dispatcher, join_order: JoinOrder, released: ReleasedTasks
    ) -> None:
        self._task_runs = task_runs
        self._dispatcher = dispatcher
        self._join_order = join_order
        self._released = released

    def lose_with_host(self, task_run: TaskRun, on_host_lost: str, *, is_ending: bool) -> str | None:
        """End an attempt that may have begun; `restart` or `host_lost` if another one follows.

        If there is neither, it was the last one, unless the task waits for others again. An attempt that
        `on_host_lost` does not replace counts as a failed one.
        """
        task = task_run.task
        replaced = on_host_lost == "rerun" and task_run.lost < MAX_RERUNS and task.restart == "never"
        task_run.lose_attempt(replaced=replaced)
        self._dispatcher.release(task_run)
        unknown = AttemptResult(succeeded=False, reason="")
        if is_ending or task_run.stopped_by_user:
            return None
        if not (replaced or task.restart != "never" or allows(task.retry, task_run.counted, unknown)):
            return None
        if task_run.unmet:
            # It was held for others, which were on that host, too.
            if task_run.pending_outcome is None:
                task_run.wait()
            return None
        return RESTART if task.restart != "never" else HOST_LOST

    def lose_start(self, task_run: TaskRun) -> tuple[str, str] | None:
        """Take back an attempt that has not begun; outcome and reason if it is not to start elsewhere."""
        is_hopeless = task_run.unmet and task_run.pending_outcome is not None
        task_run.cancel_attempt()
        self._dispatcher.release(task_run)
        if task_run.stop_reason is not None or is_hopeless or self._task_runs.is_cancelled(task_run):
            return task_run.pending_outcome or (Outcome.CANCELLED, task_run.stop_reason or "")
        if task_run.unmet:
            task_run.wait()
        else:
            self._released.make_ready(task_run)
        return None

    def lose_all(self, reason: str, began: Collection[int]) -> None:
        """The executor is gone, and every attempt with it; of those without a process, `began` have begun."""
        for task_run in self._task_runs.all:
            if task_run.state in DISPATCHED:
                self.lose(task_run, reason, began=task_run.number in began)

    def lose(self, task_run: TaskRun, reason: str, *, began: bool) -> None:
        """Finish a task whose attempt was lost with the executor, or with its report."""
        never_began = task_run.state is not RUNNING and not began
        self._join_order.was_started(task_run.number)
        if never_began:
            task_run.cancel_attempt()
        self._dispatcher.release(task_run)
        if never_began:
            end = task_run.pending_outcome or (Outcome.CANCELLED, reason)
        else:
            end = (Outcome.UNKNOWN, reason)
        self._task_runs.finish(task_run, *end)

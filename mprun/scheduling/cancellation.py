"""Finishes tasks that will not start: those that a user has stopped, or all at the end of the run."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome
from mprun.scheduling.task_run import PENDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mprun.scheduling.task_run import TaskRun, TaskRuns


class Cancellation:
    """Takes so many tasks in one decision. Until its turn, a task neither starts nor is skipped."""

    def __init__(self, task_runs: TaskRuns, max_taken: int) -> None:
        self._task_runs = task_runs
        self._max_taken = max_taken
        self._stopped: deque[TaskRun] = deque()
        # Why the run ends, None if it does not, and the number of the next task to look at.
        self._reason: str | None = None
        self._next = 0

    @property
    def has_more(self) -> bool:
        """Whether `take_stopped` or `finish_more` has something to do."""
        return bool(self._stopped) or (
            self._reason is not None and self._next < len(self._task_runs.outcomes)
        )

    def stop(self, task_runs: Iterable[TaskRun]) -> None:
        """A user has stopped these tasks."""
        self._stopped += task_runs

    def take_stopped(self) -> Iterator[TaskRun]:
        """The next ones of those that a user has stopped, if they have not ended by other means."""
        for _ in range(min(self._max_taken, len(self._stopped))):
            task_run = self._stopped.popleft()
            if task_run.state in PENDING:
                yield task_run

    def end_run(self, reason: str) -> None:
        """No task starts any more."""
        if self._reason is None:
            self._reason = reason
            self._task_runs.is_ending = True

    def finish_more(self) -> None:
        """If the run ends, finish the next tasks."""
        if self._reason is None:
            return
        left, task_runs = self._max_taken, self._task_runs.all
        while left and self._next < len(task_runs):
            left -= self._finish(task_runs[self._next], self._reason)
            self._next += 1

    def finish_all(self) -> None:
        """Finish all of them now."""
        while self.has_more:
            self._stopped.clear()
            self.finish_more()

    def _finish(self, task_run: TaskRun, reason: str) -> bool:
        """Finish a task as cancelled, or as its last attempt ended."""
        if task_run.state not in PENDING:
            return False
        self._task_runs.finish(task_run, *(task_run.pending_outcome or (Outcome.CANCELLED, reason)))
        return True

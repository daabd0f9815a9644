"""Starts the next attempt of a task after a delay, in which it has no slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling import retry
from mprun.scheduling.instructions import Instruction, ScheduleRetry
from mprun.scheduling.task_run import PAUSED
from mprun.scheduling.timers import NEXT_ATTEMPT

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.scheduling.dispatch import ReleasedTasks
    from mprun.scheduling.task_run import TaskRun
    from mprun.scheduling.task_runs import TaskRuns
    from mprun.scheduling.timers import Timers


class PendingRetries:
    """The tasks that are paused until their next attempt: `timers` has when, the tasks themselves the rest.

    `instructions` gets a `ScheduleRetry` for each pause, and `released` the task once its delay is over. A
    task that was finished or stopped meanwhile, or has had another attempt, is not started.
    """

    def __init__(
        self,
        task_runs: TaskRuns,
        released: ReleasedTasks,
        timers: Timers,
        random: Callable[[], float],
        instructions: list[Instruction],
    ) -> None:
        self._task_runs = task_runs
        self._released = released
        self._timers = timers
        self._random = random
        self._instructions = instructions

    def schedule(self, task_run: TaskRun, outcome: str, reason: str, again: str) -> None:
        """Pause a task whose attempt is over; it has this outcome, for this reason, if it never starts again.

        `again` is why it does: the delays of a restart begin anew once an attempt was stable.
        """
        now = self._task_runs.now
        task_run.pause(outcome, reason, now)
        count = task_run.unstable_attempts if again == retry.RESTART else max(1, task_run.counted)
        delay = retry.delay(retry.delays(task_run.task), count, self._random)
        attempt = task_run.attempts + 1
        self._instructions.append(
            ScheduleRetry(task=task_run.number, attempt=attempt, delay=delay, reason=again)
        )
        self._timers.set(now + delay, NEXT_ATTEMPT, task_run.number, task_run.attempts)

    def handle_due(self, task_run: TaskRun, attempt: int) -> None:
        """The delay after this attempt of a task is over: it is ready again."""
        is_due = task_run.state is PAUSED and task_run.attempts == attempt
        if is_due and not self._task_runs.is_cancelled(task_run):
            self._released.make_ready(task_run)

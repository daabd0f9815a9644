"""The next attempt of a task after a delay: how long that is, and whether the task is ready then."""

from __future__ import annotations

import pytest
from support.plans import plan

from mprun.jobfile.model import Retry
from mprun.outcomes import Outcome
from mprun.scheduling.instructions import ScheduleRetry
from mprun.scheduling.pending_retries import PendingRetries
from mprun.scheduling.retry import RESTART, RETRY
from mprun.scheduling.task_run import TaskRun
from mprun.scheduling.task_runs import TaskRuns
from mprun.scheduling.timers import NEXT_ATTEMPT, Timers

POLICY = Retry(retries=9, delay=2.0, backoff=3.0, jitter=0.5)


class Released:
    """In place of `ReleasedTasks`: keeps the tasks that were made ready, by number."""

    def __init__(self):
        self.ready = []

    def make_ready(self, task_run):
        self.ready.append(task_run.number)


class Paused:
    """A task that has had some attempts and is paused at 10.0."""

    def __init__(self, attempts=1, again=RETRY, stable=False, random=0.0):
        self.instructions, self.timers, self.released = [], Timers(), Released()
        made = plan({"a": ()}, keys={"a": {"retry": POLICY}})
        self.runs = TaskRuns(made, self.instructions, TaskRun)
        self.retries = PendingRetries(
            self.runs, self.released, self.timers, lambda: random, self.instructions
        )
        (self.task,) = self.runs.all
        for number in range(attempts):
            self.task.dispatch("")
            self.task.start(0.0)
            self.task.end_attempt(100.0 if stable and number == attempts - 1 else 1.0)
        self.runs.now = 10.0
        self.retries.schedule(self.task, Outcome.FAILED, "exit 1", again)

    @property
    def delay(self):
        (scheduled,) = self.instructions
        return scheduled.delay


def test_the_delay_is_announced_and_timed():
    paused = Paused()
    assert paused.instructions == [ScheduleRetry(task=0, attempt=2, delay=2.0, reason=RETRY)]
    assert paused.timers.first == 12.0
    assert paused.timers.pop(12.0) == (NEXT_ATTEMPT, 0, 1)
    assert paused.released.ready == []
    paused.retries.handle_due(paused.task, 1)
    assert paused.released.ready == [0]


def test_the_delay_grows_with_the_attempts_and_varies_with_the_random_number():
    assert [Paused(attempts).delay for attempts in (1, 2, 3)] == [2.0, 6.0, 18.0]
    assert Paused(2, random=0.5).delay == pytest.approx(4.5)


def test_the_delays_of_a_restart_begin_anew_after_a_stable_attempt():
    assert Paused(3, RESTART).delay == 18.0
    assert Paused(3, RESTART, stable=True).delay == 2.0
    assert Paused(3, RETRY, stable=True).delay == 18.0


def test_a_task_whose_attempts_were_all_replaced_waits_as_after_the_first():
    paused = Paused()
    paused.instructions.clear()
    paused.task.lose_attempt(replaced=True)
    paused.retries.schedule(paused.task, Outcome.UNKNOWN, "its host was lost", RETRY)
    assert paused.delay == 2.0


@pytest.mark.parametrize("why", ["finished", "stopped", "another attempt", "the run ends"])
def test_a_delay_that_is_over_too_late_starts_nothing(why):
    paused = Paused()
    if why == "finished":
        paused.runs.finish(paused.task, Outcome.FAILED, "exit 1")
    elif why == "stopped":
        paused.task.refuse_attempts()
    elif why == "another attempt":
        paused.task.dispatch("")
        paused.task.pause(Outcome.FAILED, "exit 1", 11.0)
    else:
        paused.runs.is_ending = True
    paused.retries.handle_due(paused.task, 1)
    assert paused.released.ready == []

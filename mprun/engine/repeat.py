"""Adds copies of repeated tasks while a run has time for them, in the order that the seed decides."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

from mprun.engine.fact_queue import planned_facts
from mprun.errors import TooManyTasks, UsageError, refuse_too_many
from mprun.scheduling.more_copies import MoreCopies
from mprun.scheduling.repetition import Repetition, repeat_job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.clock import Clock
    from mprun.engine.late_references import Act
    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.model import Job
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.scheduler import Scheduler

# Seeds that no one has chosen are smaller than this: short enough to type.
_SEEDS = 1_000_000

# As many copies wait for a slot as have ended in this time, in seconds: short tasks never wait for mprun,
# and long ones do not begin when the time is nearly over.
_LOOKAHEAD = 0.1
_MAX_WAITING = 64


def repeated(
    job: Job,
    selection: Sequence[int] | None,
    count: int | None,
    seconds: float | None,
    seed: int | None,
) -> tuple[Job, Repetition]:
    """The job with copies of its tasks: see `repeat_job`. Without a seed, one is drawn. Raises UsageError."""
    seed = random_seed() if seed is None else seed
    try:
        return repeat_job(job, selection, _random_of(seed), seed=seed, count=count, seconds=seconds)
    except TooManyTasks as error:
        raise UsageError(f"{error}; repeat fewer tasks, or use `--repeat-for`") from None


def random_seed() -> int:
    """A seed that no one has chosen."""
    return int.from_bytes(os.urandom(6)) % _SEEDS


def _random_of(seed: int) -> Callable[[str], Callable[[], float]]:
    # Of a text, `Random` makes the same numbers with every version of Python.
    return lambda key: Random(f"{seed}/{key}").random  # noqa: S311  not for secrets


class CopyFeed:
    """Adds copies to a run so that no slot is free, until its time is over or it ends."""

    def __init__(
        self,
        plan: Plan,
        repetition: Repetition,
        scheduler: Scheduler,
        table: TaskTable,
        clock: Clock,
        act: Act,
        warn: Callable[[str], None],
    ) -> None:
        self._copies = MoreCopies(plan, repetition, _random_of(repetition.seed))
        self._slots = plan.max_parallel
        self._seconds = repetition.seconds
        self._scheduler = scheduler
        self._table = table
        self._clock = clock
        self._act = act
        self._warn = warn
        self._ends_at: float | None = None
        # How many tasks had ended when it was last asked, and when that was; how many may wait for a slot.
        self._ended, self._since = 0, 0.0
        self._waiting = 0
        # What copies wait for in place of a group: see `MoreCopies.next_block`. None until all are known.
        self._instances: dict[int, dict[int, PlannedTask]] | None = None
        scheduler.expects_tasks = True

    @property
    def seconds_left(self) -> float | None:
        """How long copies are added; None if that is not known."""
        return None if self._ends_at is None else max(0.0, self._ends_at - self._clock.timed())

    @property
    def is_over(self) -> bool:
        """Whether no more copies are added."""
        return not self._scheduler.expects_tasks

    def proceed(self) -> None:
        """Add copies as far as there are slots for them, or end that if the time is over."""
        scheduler, now = self._scheduler, self._clock.timed()
        if self._ends_at is None and self._seconds is not None:
            self._ends_at = now + self._seconds
        if scheduler.end_reason is not None:
            scheduler.expects_tasks = False
            return
        if self._ends_at is not None and now >= self._ends_at:
            self._act(scheduler.expect_no_tasks(now))
            return
        if self._instances is None:
            self._instances = self._expanded_groups()
        if self._instances is None:
            return
        self._look_ahead(now)
        while self._has_room() and scheduler.end_reason is None:
            if self._copies.is_over:
                if not self._copies.stopped:
                    self._warn("no more copies are added: none of the last ones could start")
                self._act(scheduler.expect_no_tasks(now))
                return
            first = len(self._table.tasks)
            tasks = self._copies.next_block(first, self._instances)
            try:
                refuse_too_many(first + len(tasks))
            except TooManyTasks as error:
                self._warn(f"no more copies are added: {error}")
                self._act(scheduler.expect_no_tasks(now))
                return
            self._table.add(tasks)
            facts = planned_facts(tasks)
            self._act(scheduler.add_tasks(tasks, now), facts=facts)
            if None not in scheduler.outcomes[first : first + len(tasks)]:
                # Such as after the failure of a service: copies could be added without an end.
                self._copies.leave_out_last()

    def stop(self, names: Sequence[str]) -> None:
        """Add no more copies of the tasks that a user has stopped by these names."""
        self._copies.stop(names)

    def _has_room(self) -> bool:
        """Whether another copy of a component would begin at once, or be one of the few that wait.

        There are never more of them than slots and the few that wait: otherwise copies that wait for tokens,
        a retry or a service would become more and more.
        """
        scheduler = self._scheduler
        if scheduler.spare_slots <= -self._waiting:
            return False
        unfinished = self._copies.count_unfinished(scheduler.outcomes, scheduler.expanded)
        return unfinished < self._slots + self._waiting

    def _expanded_groups(self) -> dict[int, dict[int, PlannedTask]] | None:
        """The instances of each group that was expanded; None while a group may yet be."""
        table, groups = self._table, self._copies.groups
        if any(not table.is_expanded(one) and self._scheduler.outcomes[one] is None for one in groups):
            return None
        return {
            group: {number: table.tasks[number] for number in table.instances(group)}
            for group in groups
            if table.is_expanded(group)
        }

    def _look_ahead(self, now: float) -> None:
        if now - self._since < _LOOKAHEAD:
            return
        ended = len(self._table.tasks) - self._scheduler.unfinished
        share = _LOOKAHEAD / (now - self._since)
        self._waiting = min(_MAX_WAITING, int((ended - self._ended) * share))
        self._ended, self._since = ended, now

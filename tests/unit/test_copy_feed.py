"""Copies that are added during a run fill the slots, in virtual time."""

from heapq import heappop, heappush
from random import Random

import pytest
from support.plans import job, task

from mprun.engine.repeat import CopyFeed, repeated
from mprun.engine.task_table import TaskTable
from mprun.scheduling.checked_scheduler import CheckedScheduler
from mprun.scheduling.instructions import Start
from mprun.scheduling.plan import plan_tasks
from mprun.scheduling.retry import AttemptResult

SUCCEEDED = AttemptResult(succeeded=True, reason="exit", exit_code=0)


class Clock:
    time = 0.0

    def timed(self):
        return self.time


class Repeated:
    """A run that adds copies for so long: what it has started, and the times with slots that were free."""

    def __init__(self, spec, slots, seconds, durations, *, tokens=None, claims=None):
        claims = claims or {}
        tasks = tuple(
            task(name, number, after=after, resources=claims.get(name, {}))
            for number, (name, after) in enumerate(spec.items())
        )
        made, repetition = repeated(job(tasks, resources=tokens or {}), None, None, seconds, 1)
        plan = plan_tasks(made, cpus=2, default_method="fork", max_parallel=slots)
        plan = plan.replace(repetition=repetition)
        self.clock, self.table = Clock(), TaskTable(plan)
        self.scheduler = CheckedScheduler(plan, lambda: 0.0, ahead=0, max_held=0)
        self.warnings, self.agenda, self.started, self.running = [], [], {}, 0
        self.durations, self.slots, self.seconds = durations, slots, seconds
        self.idle = 0.0
        self.most_waiting = 0
        self.feed = CopyFeed(
            plan, repetition, self.scheduler, self.table, self.clock, self.act, self.warnings.append
        )
        self.act(self.scheduler.begin(0.0))
        self.run()

    def act(self, instructions, *, facts=()):
        for one in instructions:
            if isinstance(one, Start):
                name = self.table.tasks[one.task].name
                self.started[name] = self.clock.time
                self.running += 1
                duration = self.durations(name.partition("@")[0])
                heappush(self.agenda, (self.clock.time + duration, one.task))
                self.act(self.scheduler.handle_started(one.task, self.clock.time))

    def run(self):
        while True:
            if not self.feed.is_over:
                self.feed.proceed()
            while self.scheduler.has_more:
                self.act(self.scheduler.proceed(self.clock.time))
            if self.scheduler.finished:
                return
            self.most_waiting = max(self.most_waiting, self.scheduler.unfinished - self.running)
            times = [self.agenda[0][0]] if self.agenda else []
            if not self.feed.is_over:
                times.append(self.clock.time + self.feed.seconds_left)
                # As long as copies are added, no slot is free.
                self.idle += (self.slots - self.running) * (min(times) - self.clock.time)
            self.clock.time = min(times)
            while self.agenda and self.agenda[0][0] <= self.clock.time:
                _, number = heappop(self.agenda)
                self.running -= 1
                self.act(self.scheduler.handle_exited(number, SUCCEEDED, self.clock.time))

    def counts(self):
        found = {}
        for name in self.started:
            found[name.partition("@")[0]] = found.get(name.partition("@")[0], 0) + 1
        return found


CHAIN = {"a": (), "b": ("a",), "c": ("b",)}


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 30])
def test_copies_of_a_chain_fill_the_slots(slots):
    run = Repeated(CHAIN, slots, 60.0, lambda name: 1.0)
    assert run.idle == 0
    assert len(set(run.counts().values())) == 1
    assert sum(run.counts().values()) >= 60 * slots
    # What has begun comes to its end, and that is not much: a block has up to four copies.
    assert run.clock.time <= 62 + 3 * (slots + 4) / slots


def spec_of(random):
    """A few components of tasks that depend on each other."""
    spec = {}
    for component in range(random.randint(1, 3)):
        names = [f"{'abc'[component]}{number}" for number in range(random.randint(1, 7))]
        for number, name in enumerate(names):
            earlier = names[:number]
            spec[name] = tuple(random.sample(earlier, min(len(earlier), random.choice([1, 1, 2]))))
    return spec


@pytest.mark.parametrize("seed", range(150))
def test_copies_of_any_job_fill_the_slots(seed):
    random = Random(seed)
    spec, slots = spec_of(random), random.randint(1, 12)
    seconds = {name: random.choice([0.5, 1.0, 1.0, 7.0]) for name in spec}
    run = Repeated(spec, slots, 60.0, seconds.get)
    assert run.idle == 0, spec
    # No more copies are in progress than there are slots, and those of a block.
    assert run.most_waiting <= (slots + 4) * len(spec)
    counts = run.counts()
    assert max(counts.values()) - min(counts.values()) <= slots + 8
    assert run.warnings == []


@pytest.mark.parametrize("seed", range(60))
def test_copies_that_wait_for_tokens_do_not_pile_up(seed):
    random = Random(seed)
    spec, slots = spec_of(random), random.randint(2, 12)
    claims = {name: {"db": 1} for name in spec if random.random() < 0.5}
    run = Repeated(spec, slots, 30.0, lambda name: 1.0, tokens={"db": 1}, claims=claims)
    assert run.most_waiting <= (slots + 4) * len(spec)

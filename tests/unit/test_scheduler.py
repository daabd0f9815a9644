"""The scheduler in virtual time: policies one by one, then random runs against a model."""

from __future__ import annotations

import random

import pytest
from support.plans import plan

from mprun import outcomes
from mprun.intents import Finish, Join, Signal, Start
from mprun.scheduler import GRACE, Scheduler


class Run:
    """Drives a scheduler by task names and keeps what it answered."""

    def __init__(self, the_plan):
        self.names = [planned.task.name for planned in the_plan.tasks]
        self.scheduler = Scheduler(the_plan)
        self.log = []
        self.take(self.scheduler.begin(0.0))

    def take(self, intents):
        self.last = [self.words(intent) for intent in intents]
        self.log += self.last
        return self.last

    def words(self, intent):
        name = self.names[intent.task]
        match intent:
            case Start():
                return f"start {name}"
            case Finish():
                return f"{intent.outcome} {name}"
            case Join():
                return f"join {name} {intent.position}/{intent.of}"
            case Signal():
                return f"{intent.signal} {name} {intent.reason}"

    def started(self, *names, now=0.0):
        for name in names:
            self.take(self.scheduler.task_started(self.names.index(name), now))
        return self

    def exited(self, name, succeeded=True, now=1.0):
        return self.take(self.scheduler.task_exited(self.names.index(name), succeeded, "exit", now))

    def outcome(self, name):
        return self.scheduler.outcomes[self.names.index(name)]


def test_tasks_start_in_file_order_as_far_as_there_are_places():
    run = Run(plan({"c": (), "a": (), "b": ()}, places=2))
    assert run.log == ["start c", "start a"]
    run.started("c", "a")
    assert run.exited("a") == ["succeeded a", "start b"]


def test_daemons_take_no_place():
    run = Run(plan({"d": (), "a": (), "e": (), "b": ()}, daemons=("d", "e"), places=1))
    assert run.log == ["start d", "start a", "start e"]


def test_dependent_starts_after_its_dependency_was_joined():
    run = Run(plan({"add": (), "read": ("add",)})).started("add")
    assert run.exited("add") == ["succeeded add", "join add 1/2", "start read"]


def test_dependents_of_a_failure_are_skipped_all_the_way_down():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",), "d": ()})).started("a", "d")
    assert run.exited("a", succeeded=False) == ["failed a", "skipped b", "skipped c", "join a 1/4"]
    run.exited("d")
    assert run.scheduler.over


def test_failure_is_noticed_at_once_and_joined_in_order():
    run = Run(plan({"a": (), "b": ()}, join=[("a", None), ("b", None)])).started("a", "b")
    assert run.exited("b", succeeded=False) == ["failed b"]
    assert run.exited("a") == ["succeeded a", "join a 1/2", "join b 2/2"]


def test_unlisted_tasks_are_joined_after_the_list():
    run = Run(plan({"slow": (), "quick": ()}, join=[("quick", None)])).started("slow", "quick")
    assert run.exited("quick") == ["succeeded quick", "join quick 1/2"]
    assert not run.scheduler.over
    assert run.exited("slow") == ["succeeded slow", "join slow 2/2"]
    assert run.scheduler.over


def test_join_timeout_counts_from_when_everything_was_started():
    run = Run(plan({"work": ()}, daemons=("work",), join=[("work", 0.5)]))
    assert run.scheduler.deadline is None
    run.started("work", now=10.0)
    assert run.scheduler.deadline == 10.5
    assert run.take(run.scheduler.time_passed(10.4)) == []
    assert run.take(run.scheduler.time_passed(10.5)) == ["SIGTERM work run_ends"]
    assert run.exited("work", now=10.6) == ["stopped work"]
    assert run.scheduler.over


def test_a_task_whose_join_timed_out_is_still_waited_for():
    run = Run(plan({"a": (), "b": ()}, join=[("a", 1.0), ("b", None)])).started("a", "b")
    run.take(run.scheduler.time_passed(1.0))
    assert run.exited("b", now=2.0) == ["succeeded b", "join b 1/2"]
    assert run.exited("a", now=3.0) == ["succeeded a", "join a 2/2"]
    assert run.scheduler.over


def test_daemons_are_stopped_after_the_last_join_last_started_first():
    run = Run(plan({"d": (), "e": (), "a": ()}, daemons=("d", "e"))).started("d", "e", "a")
    assert run.exited("a") == ["succeeded a", "join a 1/1", "SIGTERM e run_ends", "SIGTERM d run_ends"]


def test_job_of_daemons_alone_ends_at_once_unless_join_names_them():
    run = Run(plan({"d": ()}, daemons=("d",))).started("d")
    assert run.last == ["SIGTERM d run_ends"]
    run = Run(plan({"d": ()}, daemons=("d",), join=[("d", None)])).started("d")
    assert run.last == []
    assert run.exited("d") == ["succeeded d", "join d 1/1"]


def test_daemon_that_fails_by_itself_has_failed():
    run = Run(plan({"d": (), "a": ()}, daemons=("d",))).started("d", "a")
    assert run.exited("d", succeeded=False) == ["failed d"]


def test_daemon_that_could_not_start_before_the_end_is_cancelled():
    run = Run(plan({"d": (), "e": ("d",), "a": ()}, daemons=("d", "e"))).started("d", "a")
    run.exited("a")
    assert run.outcome("e") == outcomes.CANCELLED
    run.exited("d")
    assert run.scheduler.over


def test_stop_cancels_what_waits_and_signals_what_runs_last_first():
    run = Run(plan({"a": (), "b": (), "c": ("a",)}, places=2)).started("a", "b")
    assert run.take(run.scheduler.stop("user", 5.0)) == [
        "cancelled c",
        "SIGTERM b user",
        "SIGTERM a user",
    ]
    assert run.exited("a", now=5.1)[0] == "stopped a"
    assert not run.scheduler.over
    run.exited("b", now=5.1)
    assert run.scheduler.over


def test_task_that_ignores_the_stop_signal_is_killed_after_the_grace():
    run = Run(plan({"a": ()})).started("a")
    run.take(run.scheduler.stop("user", 5.0))
    assert run.scheduler.deadline == 5.0 + GRACE
    assert run.take(run.scheduler.time_passed(5.0 + GRACE)) == ["SIGKILL a user"]


def test_second_stop_kills_at_once():
    run = Run(plan({"a": ()})).started("a")
    run.take(run.scheduler.stop("user", 5.0))
    assert run.take(run.scheduler.stop("user", 5.1, kill=True)) == ["SIGKILL a user"]


def test_stop_of_a_task_that_has_no_process_yet_waits_for_its_process():
    run = Run(plan({"a": ()}))
    assert run.take(run.scheduler.stop("user", 0.1)) == []
    run.started("a", now=0.2)
    assert run.last == ["SIGTERM a user"]


def test_nobody_saw_the_end_of_what_ran_when_the_launcher_was_lost():
    run = Run(plan({"a": (), "b": ("a",)})).started("a")
    assert run.take(run.scheduler.lost("launcher lost", 1.0)) == ["cancelled b", "unknown a", "join a 1/2"]
    assert run.scheduler.over


def test_chain_of_ten_thousand_needs_no_recursion():
    names = [f"t{number}" for number in range(10_000)]
    run = Run(plan({name: (names[number - 1],) if number else () for number, name in enumerate(names)}))
    run.started("t0")
    run.exited("t0", succeeded=False)
    assert run.scheduler.over
    assert run.scheduler.outcomes.count(outcomes.SKIPPED) == 9_999


# ---- random runs


def random_plan(dice):
    count = dice.randint(1, 60)
    names = [f"t{number}" for number in range(count)]
    spec = {}
    for number, name in enumerate(names):
        spec[name] = tuple(dice.sample(names[:number], min(number, dice.choice([0, 0, 0, 1, 1, 2, 3]))))
    daemons = tuple(name for name in names if dice.random() < 0.15)
    join = None
    if dice.random() < 0.5:
        join = [
            (name, dice.choice([None, dice.random() * 5])) for name in names if dice.random() < 0.5
        ]
        dice.shuffle(join)
    return plan(spec, daemons=daemons, join=join, places=dice.randint(1, 8))


class World:
    """A world of virtual time: processes that start, end when they like, and obey signals or not."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.plan = random_plan(self.dice)
        self.scheduler = Scheduler(self.plan)
        self.now = 0.0
        self.agenda = []
        self.alive = set()
        self.begun = set()
        self.finished = {}
        self.joined = []
        self.trace = []
        self.stop_at = self.dice.choice([None, None, self.dice.random() * 10])

    def daemon(self, task):
        return self.plan.tasks[task].task.daemon

    def at(self, delay, what, task):
        self.agenda.append((self.now + delay, self.dice.random(), what, task))

    def carry_out(self, intents):
        for intent in intents:
            self.trace.append((round(self.now, 9), repr(intent)))
            match intent:
                case Start():
                    self.check_start(intent.task)
                    self.begun.add(intent.task)
                    self.at(self.dice.random() * 0.1, "started", intent.task)
                case Signal():
                    assert intent.task in self.alive, "a signal to a task without a process"
                    if intent.signal == "SIGKILL" or self.dice.random() < 0.7:
                        self.at(self.dice.random() * 0.1, "exited", intent.task)
                case Finish():
                    assert intent.task not in self.finished, "two outcomes for one task"
                    self.finished[intent.task] = intent.outcome
                case Join():
                    assert intent.task in self.finished and intent.task not in self.joined
                    self.joined.append(intent.task)
                    assert intent.position == len(self.joined) <= intent.of

    def check_start(self, task):
        assert task not in self.begun, "started twice"
        assert task not in self.finished, "started after its outcome"
        assert all(self.finished.get(need) == "succeeded" for need in self.plan.tasks[task].needs)
        taken = sum(1 for other in self.begun if other not in self.finished and not self.daemon(other))
        assert self.daemon(task) or taken < self.plan.max_parallel, "more tasks than places"

    def run(self):
        self.carry_out(self.scheduler.begin(self.now))
        for _ in range(10_000):
            if self.scheduler.over:
                return
            self.step()
        raise AssertionError("the run does not end")

    def step(self):
        next_event = min(self.agenda)[0] if self.agenda else None
        times = [time for time in (next_event, self.scheduler.deadline, self.stop_at) if time is not None]
        assert times, "nothing will ever happen"
        self.now = max(self.now, min(times))
        if self.stop_at is not None and self.stop_at <= self.now:
            self.stop_at = None
            self.carry_out(self.scheduler.stop("user", self.now, kill=self.dice.random() < 0.2))
        elif self.agenda and min(self.agenda)[0] <= self.now:
            event = min(self.agenda)
            self.agenda.remove(event)
            self.happen(event[2], event[3])
        else:
            self.carry_out(self.scheduler.time_passed(self.now))

    def happen(self, what, task):
        if what == "started":
            self.alive.add(task)
            self.at(self.dice.random() * (30 if self.daemon(task) else 4), "exited", task)
            self.carry_out(self.scheduler.task_started(task, self.now))
        elif task in self.alive:
            self.alive.discard(task)
            self.carry_out(self.scheduler.task_exited(task, self.dice.random() < 0.85, "exit", self.now))


def play(seed):
    world = World(seed)
    world.run()
    return world


@pytest.mark.parametrize("block", range(10))
def test_random_runs_keep_every_promise(block):
    for seed in range(block * 200, block * 200 + 200):
        try:
            world = play(seed)
            assert not world.alive, "a process outlives the run"
            assert len(world.finished) == len(world.plan.tasks), "a task without an outcome"
            ran = {task for task in world.begun if not world.daemon(task)}
            assert ran <= set(world.joined), "a task that is no daemon was never joined"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_same_seed_gives_the_same_trace():
    assert play(7).trace == play(7).trace

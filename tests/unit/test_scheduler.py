"""The scheduler in virtual time: policies one by one, then random runs against a model."""

from __future__ import annotations

import heapq
import random

import pytest
from support.plans import plan

from mprun import outcomes
from mprun.intents import Finish, Join, Signal, Start, TryAgain, Withdraw
from mprun.job import Retry, Stop
from mprun.retries import Ending
from mprun.scheduler import AHEAD, Scheduler

GRACE = Stop().grace


class Run:
    """Drives a scheduler by task names and keeps what it answered."""

    def __init__(self, the_plan, dice=lambda: 0.0):
        self.names = [planned.name for planned in the_plan.tasks]
        self.scheduler = Scheduler(the_plan, dice)
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
                return f"{intent.signal} {name} {intent.reason}{' dump' if intent.dump else ''}"
            case Withdraw():
                return f"withdraw {name}"
            case TryAgain():
                return f"again {name} {intent.attempt} in {intent.delay:g}"

    def started(self, *names, now=0.0):
        for name in names:
            self.take(self.scheduler.task_started(self.names.index(name), now))
        return self

    def exited(self, name, succeeded=True, now=1.0, code=None, exceptions=()):
        code = code if code is not None else int(not succeeded)
        ending = Ending(succeeded=succeeded, reason="exit", exit_code=code, exceptions=exceptions)
        return self.take(self.scheduler.task_exited(self.names.index(name), ending, now))

    def passed(self, now):
        return self.take(self.scheduler.time_passed(now))

    def outcome(self, name):
        return self.scheduler.outcomes[self.names.index(name)]


def test_tasks_start_in_file_order_one_ahead_of_the_places():
    run = Run(plan({"c": (), "a": (), "b": (), "d": ()}, places=2))
    assert run.log == ["start c", "start a", "start b"]
    run.started("c", "a")
    assert run.exited("a") == ["succeeded a", "start d"]


def test_nothing_is_handed_over_ahead_of_a_task_that_comes_before_it_in_the_file():
    run = Run(plan({"a": (), "b": ("a",), "c": (), "d": ()}, places=1)).started("a")
    assert run.log == ["start a"]
    run.exited("a")
    assert run.log[-2:] == ["start b", "start c"]


def test_nothing_is_handed_over_ahead_where_a_failure_stops_the_run():
    run = Run(plan({"a": (), "b": ()}, places=1, fail_fast=True)).started("a")
    assert run.log == ["start a"]
    assert run.exited("a")[-1] == "start b"


def test_daemons_take_no_place():
    run = Run(plan({"d": (), "a": (), "e": (), "b": (), "c": ()}, daemons=("d", "e"), places=1))
    assert run.log == ["start d", "start a", "start e", "start b"]


def test_joins_begin_without_what_still_waits_for_a_place():
    run = Run(plan({"a": (), "b": ()}, join=[("a", 0.5)], places=1)).started("a", now=1.0)
    assert run.scheduler.deadline == 1.5


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
    run = Run(plan({"d": ()}, daemons=("d",)))
    assert run.log == ["start d"]
    assert run.started("d").last == ["SIGTERM d run_ends"]
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
    assert run.take(run.scheduler.stop("user", 0.1)) == ["withdraw a"]
    run.started("a", now=0.2)
    assert run.last == ["SIGTERM a user"]


def test_second_stop_kills_what_had_no_process_yet():
    run = Run(plan({"a": ()}))
    run.take(run.scheduler.stop("user", 0.1))
    run.take(run.scheduler.stop("user", 0.2, kill=True))
    assert run.started("a", now=0.3).last == ["SIGKILL a user"]


def test_withdrawn_task_was_never_started():
    run = Run(plan({"a": (), "b": ()}, places=1)).started("a")
    assert run.take(run.scheduler.stop("user", 1.0)) == ["withdraw b", "SIGTERM a user"]
    assert run.take(run.scheduler.task_withdrawn(1, 1.1)) == ["cancelled b"]
    run.exited("a")
    assert run.scheduler.over


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


# ---- conditions


def test_finished_holds_for_any_outcome():
    spec = {"a": (), "b": ("a",), "c": ("a:finished",), "d": ("b:finished",)}
    run = Run(plan(spec)).started("a")
    assert run.exited("a", succeeded=False)[1:] == ["skipped b", "join a 1/4", "start c", "start d"]


def test_failed_holds_for_a_failure_alone():
    run = Run(plan({"a": (), "b": (), "c": ("a:failed",), "d": ("b:failed",)})).started("a", "b")
    assert run.exited("a", succeeded=False)[-1] == "start c"
    assert run.exited("b")[:2] == ["succeeded b", "skipped d"]


def test_started_holds_when_there_is_a_process():
    run = Run(plan({"server": (), "client": ("server:started",)}, daemons=("server",)))
    assert run.log == ["start server"]
    assert run.started("server").last == ["start client"]


def test_started_of_a_task_that_never_starts_never_holds():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b:started",)})).started("a")
    assert run.exited("a", succeeded=False)[:3] == ["failed a", "skipped b", "skipped c"]


def test_started_holds_once_however_often_it_is_tried():
    retry = {"a": {"retry": Retry(retries=1)}}
    run = Run(plan({"a": (), "b": ("a:started", "c"), "c": ()}, keys=retry)).started("a", "c")
    run.exited("a", succeeded=False)
    run.passed(1.0)
    run.started("a", now=1.0)
    assert "start b" not in run.log
    assert run.exited("c")[-1] == "start b"


def test_pattern_means_every_task_that_it_matches():
    run = Run(plan({"t[m=a,n=1]": (), "t[m=b,n=1]": (), "end": ("t[m=?,n=*",)}))
    assert run.log == ["start t[m=a,n=1]", "start t[m=b,n=1]"]


def test_name_and_pattern_may_ask_for_two_things_of_one_task():
    spec = {"a1": (), "a2": (), "z": ("a1:succeeded", "a*:finished")}
    run = Run(plan(spec)).started("a1", "a2")
    run.exited("a1", succeeded=False)
    assert run.outcome("z") == "skipped"


# ---- retries and timeouts


def retrying(**retry):
    return {"a": {"retry": Retry(**retry)}}


def test_failed_attempt_is_followed_by_another_after_the_delay():
    run = Run(plan({"a": ()}, keys=retrying(retries=2, delay=1.0, backoff=3.0))).started("a")
    assert run.exited("a", succeeded=False, now=1.0) == ["again a 2 in 1"]
    assert run.scheduler.deadline == 2.0
    assert run.passed(2.0) == ["start a"]
    run.started("a", now=2.0)
    assert run.exited("a", succeeded=False, now=3.0) == ["again a 3 in 3"]
    assert run.passed(6.0) == ["start a"]
    run.started("a", now=6.0)
    assert run.exited("a", succeeded=False, now=7.0)[0] == "failed a"


def test_retried_task_gives_its_place_away_while_it_waits():
    run = Run(plan({"a": (), "b": ()}, keys=retrying(retries=1, delay=9.0), places=1)).started("a")
    assert run.exited("a", succeeded=False) == ["again a 2 in 9"]
    assert run.log == ["start a", "start b", "again a 2 in 9"]


def test_delay_is_capped_and_partly_left_to_chance():
    the_plan = plan({"a": ()}, keys=retrying(retries=9, delay=8.0, backoff=10.0, max_delay=10.0, jitter=0.5))
    run = Run(the_plan, dice=lambda: 1.0).started("a")
    assert run.exited("a", succeeded=False) == ["again a 2 in 4"]
    run.passed(100.0)
    run.started("a")
    assert run.exited("a", succeeded=False) == ["again a 3 in 5"]


@pytest.mark.parametrize(
    ("retry", "code", "exceptions", "again"),
    [
        ({}, 1, ("ValueError",), True),
        ({"exit_codes": (75,)}, 75, (), True),
        ({"exit_codes": (75,)}, 1, ("ValueError",), False),
        ({"exceptions": ("OSError",)}, 1, ("ConnectionError", "OSError"), True),
        ({"exceptions": ("OSError",)}, 1, ("ValueError",), False),
        ({"exceptions": ("OSError",), "exit_codes": (-9,)}, -9, (), True),
    ],
)
def test_only_what_matches_is_tried_again(retry, code, exceptions, again):
    run = Run(plan({"a": ()}, keys=retrying(retries=1, **retry))).started("a")
    last = run.exited("a", succeeded=False, code=code, exceptions=exceptions)
    assert last[0] == ("again a 2 in 0" if again else "failed a")


def test_attempt_past_its_timeout_is_stopped_with_its_stacks_then_killed():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0, "stop": Stop(signal="SIGINT", grace=1.0)}}))
    run.started("a", now=10.0)
    assert run.passed(12.0) == ["SIGINT a timeout dump"]
    assert run.passed(13.0) == ["SIGKILL a timeout"]
    assert run.exited("a", now=13.1)[0] == "timed-out a"


def test_attempt_that_ended_before_its_timeout_was_noticed_has_not_timed_out():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0}})).started("a", now=10.0)
    run.passed(12.0)
    assert run.exited("a", now=11.9)[0] == "succeeded a"


def test_timed_out_attempt_is_retried_and_the_old_timer_is_void():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0, "retry": Retry(retries=1)}})).started("a")
    run.passed(2.0)
    assert run.exited("a", now=2.1) == ["again a 2 in 0"]
    run.passed(2.1)
    run.started("a", now=3.0)
    assert run.passed(4.9) == []
    assert run.exited("a", now=4.95)[0] == "succeeded a"


def test_stop_between_attempts_leaves_the_failure():
    run = Run(plan({"a": ()}, keys=retrying(retries=5, delay=60.0))).started("a")
    run.exited("a", succeeded=False)
    assert run.take(run.scheduler.stop("user", 2.0))[0] == "failed a"
    assert run.scheduler.over


def test_stopped_attempt_is_not_tried_again():
    run = Run(plan({"a": ()}, keys=retrying(retries=5))).started("a")
    run.take(run.scheduler.stop("user", 2.0))
    assert run.exited("a", succeeded=False)[0] == "stopped a"


def test_run_past_its_timeout_is_stopped():
    run = Run(plan({"a": (), "b": ("a",)}, timeout=5.0)).started("a")
    assert run.passed(5.0) == ["cancelled b", "SIGTERM a run_timeout dump"]
    assert run.exited("a", now=5.1)[0] == "stopped a"
    assert run.scheduler.ending == "run_timeout"


# ---- failing fast


def test_first_failure_stops_the_run_where_asked():
    run = Run(plan({"a": (), "b": (), "c": ("b",)}, fail_fast=True)).started("a", "b")
    assert run.exited("a", succeeded=False)[:3] == ["failed a", "cancelled c", "SIGTERM b fail_fast"]
    assert run.exited("b")[0] == "stopped b"
    assert run.scheduler.ending == "fail_fast"


def test_allowed_failure_stops_nothing():
    keys = {"a": {"allow_failure": True}}
    run = Run(plan({"a": (), "b": ()}, fail_fast=True, keys=keys)).started("a", "b")
    assert run.exited("a", succeeded=False) == ["failed a", "join a 1/2"]


# ---- random runs


def random_keys(dice):
    keys = {}
    if dice.random() < 0.3:
        keys["retry"] = Retry(
            retries=dice.randint(1, 3),
            delay=dice.random(),
            backoff=dice.choice([1.0, 2.0]),
            jitter=dice.random(),
            exit_codes=dice.choice([(), (), (1,), (2,)]),
        )
    if dice.random() < 0.3:
        keys["timeout"] = dice.random() * 3
    if dice.random() < 0.2:
        keys["stop"] = Stop(signal="SIGINT", grace=dice.random())
    keys["allow_failure"] = dice.random() < 0.2
    return keys


def random_plan(dice):
    count = dice.choice([dice.randint(1, 12), dice.randint(1, 40), dice.randint(1, 300)])
    names = [f"t{number}" for number in range(count)]
    conditions = ["", "", ":succeeded", ":finished", ":failed", ":started"]
    spec = {}
    for number, name in enumerate(names):
        needs = dice.sample(names[:number], min(number, dice.choice([0, 0, 0, 1, 1, 2, 3])))
        spec[name] = tuple(need + dice.choice(conditions) for need in needs)
    join = None
    if dice.random() < 0.5:
        join = [(name, dice.choice([None, dice.random() * 5])) for name in names if dice.random() < 0.5]
        dice.shuffle(join)
    return plan(
        spec,
        daemons=tuple(name for name in names if dice.random() < 0.15),
        join=join,
        places=dice.randint(1, 8),
        keys={name: random_keys(dice) for name in names},
        fail_fast=dice.random() < 0.1,
        timeout=dice.choice([None, None, None, dice.random() * 20]),
    )


class World:
    """A world of virtual time: processes that start, end when they like, and obey signals or not.

    What it asserts are the invariants of every run.
    """

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.plan = random_plan(self.dice)
        self.scheduler = Scheduler(self.plan, self.dice.random)
        self.now = 0.0
        self.agenda = []
        self.alive = {}
        self.attempts = {}
        self.running = set()
        self.queue = []
        self.seen_started = set()
        self.finished = {}
        self.joined = []
        self.trace = []
        self.stop_at = self.dice.choice([None, None, self.dice.random() * 10])

    def task(self, number):
        return self.plan.tasks[number].task

    def at(self, delay, what, task):
        heapq.heappush(self.agenda, (self.now + delay, self.dice.random(), what, task, self.attempts[task]))

    def carry_out(self, intents):
        for intent in intents:
            self.trace.append((round(self.now, 9), repr(intent)))
            match intent:
                case Start():
                    self.start(intent)
                case Signal():
                    assert self.alive.get(intent.task) == intent.attempt, "a signal to no process"
                    if intent.signal == "SIGKILL" or self.dice.random() < 0.7:
                        self.at(self.dice.random() * 0.1, "exited", intent.task)
                case Withdraw():
                    if intent.task in self.queue:
                        self.queue.remove(intent.task)
                        self.at(self.dice.random() * 0.1, "withdrawn", intent.task)
                case TryAgain():
                    assert intent.attempt == self.attempts[intent.task] + 1
                    assert intent.attempt <= self.task(intent.task).retry.retries + 1
                    assert intent.delay >= 0
                case Finish():
                    assert intent.task not in self.finished, "two outcomes for one task"
                    assert intent.task not in self.running, "an outcome for a running task"
                    assert intent.task not in self.queue, "an outcome for a task that will start"
                    assert intent.attempts == self.attempts.get(intent.task, 0)
                    self.finished[intent.task] = intent.outcome
                case Join():
                    assert intent.task in self.finished
                    assert intent.task not in self.joined
                    self.joined.append(intent.task)
                    assert intent.position == len(self.joined) <= intent.of

    def start(self, intent):
        task = intent.task
        assert task not in self.running, "two attempts at once"
        assert task not in self.finished, "started after its outcome"
        assert intent.attempt == self.attempts.get(task, 0) + 1
        assert all(self.holds(*need) for need in self.plan.tasks[task].needs), "started too early"
        self.attempts[task] = intent.attempt
        self.queue.append(task)
        self.launch()
        assert len(self.queue) <= AHEAD, "too many tasks wait for a place"

    def launch(self):
        """What the launcher does by itself: it starts what waits as soon as there is a place."""
        taken = sum(not self.task(other).daemon for other in self.running)
        for task in list(self.queue):
            if self.task(task).daemon or taken < self.plan.max_parallel:
                taken += not self.task(task).daemon
                self.queue.remove(task)
                self.running.add(task)
                self.at(self.dice.random() * 0.1, "started", task)

    def holds(self, need, condition):
        outcome = self.finished.get(need)
        return {
            "succeeded": outcome == "succeeded",
            "finished": outcome is not None,
            "failed": outcome in ("failed", "timed-out"),
            "started": need in self.seen_started,
        }[condition]

    def run(self):
        self.carry_out(self.scheduler.begin(self.now))
        for _ in range(50_000):
            if self.scheduler.over:
                return
            self.step()
        raise AssertionError("the run does not end")

    def step(self):
        next_event = self.agenda[0][0] if self.agenda else None
        times = [time for time in (next_event, self.scheduler.deadline, self.stop_at) if time is not None]
        assert times, "nothing will ever happen"
        self.now = max(self.now, min(times))
        if self.stop_at is not None and self.stop_at <= self.now:
            self.stop_at = None
            self.carry_out(self.scheduler.stop("user", self.now, kill=self.dice.random() < 0.2))
        elif self.agenda and self.agenda[0][0] <= self.now:
            self.happen(*heapq.heappop(self.agenda)[2:])
        else:
            self.carry_out(self.scheduler.time_passed(self.now))

    def happen(self, what, task, attempt):
        if attempt != self.attempts[task]:
            return
        if what == "withdrawn":
            self.attempts[task] -= 1
            self.carry_out(self.scheduler.task_withdrawn(task, self.now))
        elif what == "started":
            if self.dice.random() < 0.01:
                self.end(task, Ending(succeeded=False, reason="could not be started"))
                return
            self.alive[task] = attempt
            self.seen_started.add(task)
            self.at(self.dice.random() * (30 if self.task(task).daemon else 4), "exited", task)
            self.carry_out(self.scheduler.task_started(task, self.now))
        elif task in self.alive:
            del self.alive[task]
            code = self.dice.choice([0, 0, 0, 0, 1, 2])
            self.end(task, Ending(succeeded=code == 0, reason="exit", exit_code=code))

    def end(self, task, ending):
        self.running.discard(task)
        self.launch()
        self.carry_out(self.scheduler.task_exited(task, ending, self.now))


def play(seed):
    world = World(seed)
    world.run()
    return world


def check(world):
    assert not world.running, "a process outlives the run"
    assert not world.queue, "a start outlives the run"
    assert len(world.finished) == len(world.plan.tasks), "a task without an outcome"
    ran = {task for task, count in world.attempts.items() if count and not world.task(task).daemon}
    assert ran <= set(world.joined), "a task that is no daemon was never joined"
    if world.scheduler.ending == "run_ends":
        for task, outcome in world.finished.items():
            assert outcome not in ("cancelled", "stopped") or world.task(task).daemon


RUNS, BLOCKS = 10_000, 20


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_runs_keep_every_promise(block):
    size = RUNS // BLOCKS
    for seed in range(block * size, (block + 1) * size):
        try:
            check(play(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_same_seed_gives_the_same_trace():
    assert play(7).trace == play(7).trace

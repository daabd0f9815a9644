"""Forecasts by the durations of earlier runs: how long a run takes, and which order is better."""

from __future__ import annotations

import statistics
from random import Random

import pytest
from support.plans import plan
from support.random_plans import random_plan
from support.timed_plans import estimates, noisy, timed_plan

from mprun.jobfile.model import Ready, Retry
from mprun.scheduling.critical_path import Priorities
from mprun.scheduling.estimates import Estimates, RunTimings
from mprun.scheduling.forecast import MAX_SIMULATED_TASKS, MIN_GAIN, forecast_run, prioritized
from mprun.scheduling.plan import Reused
from mprun.scheduling.simulation import simulate

SERVES = {"db": {"ready": Ready(kind="tcp", what="80")}}
# Two chains; the short one comes first in the file.
SPEC = {"s1": (), "s2": (), "s3": (), "s4": (), "a": (), "b": ("a",), "c": ("b",), "d": ("c",)}


def past(**durations):
    return [RunTimings(durations=durations, until_ready={})]


def simulated(made, until_ready=None, **durations):
    found = simulate(made, estimates(durations, until_ready))
    return found and (found.seconds, [made.tasks[number].name for number in found.order])


# ---- simulations


def test_the_slots_limit_how_fast_a_run_is():
    spec = {"a": (), "b": (), "c": (), "d": ("a",)}
    assert simulated(plan(spec, slots=2), a=1.0, b=3.0, c=1.5, d=2.0) == (4.5, ["a", "b", "c", "d"])


def test_a_simulated_task_waits_for_its_tokens():
    keys = {name: {"resources": {"db": 1}} for name in "ab"}
    made = plan({"a": (), "b": (), "c": ()}, keys=keys, resources={"db": 1})
    assert simulated(made, a=2.0, b=2.0, c=1.0) == (4.0, ["a", "c", "b"])


def test_a_dependent_waits_until_a_daemon_is_ready_and_the_daemon_ends_with_the_run():
    made = plan({"db": (), "test": ("db:ready",)}, daemons=("db",), keys=SERVES, slots=1)
    assert simulated(made, until_ready={"db": 3.0}, test=2.0) == (5.0, ["db", "test"])


def test_a_daemon_with_a_known_duration_ends_by_itself():
    made = plan({"d": (), "after": ("d:finished",)}, daemons=("d",))
    assert simulated(made, d=3.0, after=1.0) == (4.0, ["d", "after"])


def test_a_run_that_would_not_end_has_no_simulation():
    made = plan({"d": (), "after": ("d:finished",)}, daemons=("d",))
    assert simulated(made, after=1.0) is None
    assert simulated(plan({"a": ()}, keys={"a": {"restart": "always"}}), a=1.0) is None


def test_a_list_has_the_instances_of_the_earlier_run():
    made = plan({"each": (), "end": ("each",)}, slots=2, late={"each"}, keys={"each": {"foreach": "x"}})
    assert simulated(made, **{"each[0]": 1.0, "each[1]": 1.0, "each[2]": 2.0, "end": 1.0}) == (
        4.0,
        ["each", "end"],
    )


def test_reused_instances_take_no_time():
    made = plan({"each": ()}, late={"each"}, keys={"each": {"foreach": "x"}})
    made = made.replace(reused={"each[1]": Reused(outcome="succeeded", attempts=1)})
    assert simulated(made, **{"each[0]": 1.0, "each[1]": 4.0}) == (1.0, ["each"])


def test_a_task_is_ready_before_it_ends():
    made = plan({"db": (), "test": ("db:ready",)}, keys=SERVES)
    assert simulated(made, until_ready={"db": 9.0}, db=2.0, test=1.0) == (3.0, ["db", "test"])


def test_a_skipped_task_takes_no_time_and_a_dependent_on_a_failure_never_runs():
    made = plan({"a": (), "b": ("a",), "mourn": ("a:failed",)}, skipped={"b"})
    assert simulated(made, a=2.0, b=9.0, mourn=9.0) == (2.0, ["b", "a", "mourn"])


def test_join_timeouts_and_the_timeout_of_the_run_do_not_end_a_simulation():
    made = plan({"a": (), "b": ()}, join=[("a", 0.5)], timeout=1.0, keys={"a": {"retry": Retry(retries=2)}})
    assert simulated(made, a=5.0, b=1.0) == (5.0, ["a", "b"])


# ---- the better order


def test_the_long_chain_goes_first_if_that_is_shorter():
    durations = dict.fromkeys(SPEC, 1.0)
    made = prioritized(plan(SPEC, slots=2), past(**durations))
    assert simulated(plan(SPEC, slots=2), **durations)[0] == 6.0
    assert simulated(made, **durations) == (4.0, ["a", "s1", "b", "s2", "c", "s3", "s4", "d"])


@pytest.mark.parametrize(
    "spec", [dict.fromkeys(map(str, range(300)), ()), {"a": (), "b": ("a",), "c": ("b",)}]
)
def test_file_order_stays_if_no_other_order_can_be_shorter(spec, monkeypatch):
    monkeypatch.setattr("mprun.scheduling.forecast.simulate", None)
    assert prioritized(plan(spec, slots=2), past(**dict.fromkeys(spec, 1.0))).priorities is None


def test_the_order_of_the_file_stays_if_priorities_would_make_the_run_longer():
    made, durations = anomaly()
    assert prioritized(made, past(**durations)).priorities is None


def anomaly():
    """A plan that takes more than a tenth longer with the critical path first."""
    for seed in range(200):
        made, durations = timed_plan(Random(seed), 30, tokens=True)
        known = estimates(durations)
        with_priorities = made.replace(priorities=Priorities(made, known))
        if simulate(with_priorities, known).seconds > 1.1 * simulate(made, known).seconds:
            return made, durations
    raise AssertionError("no seed gives an anomaly")


def test_a_plan_too_large_to_simulate_has_priorities_unless_there_are_tokens(monkeypatch):
    monkeypatch.setattr("mprun.scheduling.forecast.simulate", None)
    count = MAX_SIMULATED_TASKS
    spec = {f"s{number}": () for number in range(count)} | {"a": (), "b": ("a",)}
    durations = {**dict.fromkeys(spec, 1.0), "b": count / 2.0}
    assert prioritized(plan(spec, slots=2), past(**durations)).priorities is not None
    assert prioritized(plan(spec, slots=2, resources={"db": 1}), past(**durations)).priorities is None


def test_a_forecast_has_the_duration_the_order_and_the_critical_path():
    durations = dict.fromkeys([name for name in SPEC if name != "s4"], 1.0)
    made = plan(SPEC, slots=2)
    found = forecast_run(made, [*past(**durations), *past(**durations)])
    assert (found.runs, found.new, found.seconds, found.path_seconds) == (2, 1, 4.0, 4.0)
    assert [made.tasks[number].name for number in found.path] == ["a", "b", "c", "d"]
    assert found.plan.priorities is not None


def test_a_forecast_of_a_run_that_would_not_end_has_no_duration():
    made = plan({"d": (), "after": ("d:finished",)}, daemons=("d",))
    found = forecast_run(made, past(after=1.0))
    assert (found.seconds, found.order) == (None, None)


# ---- many graphs with fixed seeds


@pytest.fixture(scope="module")
def drawn():
    """Plans, the same plans in the chosen order, and the durations of their tasks."""
    found = []
    for seed in range(400):
        random = Random(seed)
        made, durations = timed_plan(random, random.randint(5, 90))
        chosen = prioritized(made, past(**durations))
        found.append((made, chosen, durations))
    return found


def seconds(made, durations):
    return simulate(made, estimates(durations)).seconds


def test_the_chosen_order_is_never_longer_than_that_of_the_file_and_often_shorter(drawn):
    gains = [1 - seconds(chosen, spans) / seconds(made, spans) for made, chosen, spans in drawn]
    assert min(gains) >= 0.0
    assert all(
        gain >= MIN_GAIN for gain, (_, chosen, _) in zip(gains, drawn, strict=True) if chosen.priorities
    )
    assert statistics.median(gains) > 0.01
    assert statistics.mean(gains) > 0.03


def test_a_simulation_has_every_task_once_in_its_order(drawn):
    for made, chosen, durations in drawn:
        assert sorted(simulate(chosen, estimates(durations)).order) == list(range(len(made.tasks)))


def test_the_chosen_order_is_rarely_longer_if_tasks_take_a_fifth_more_or_less(drawn):
    random = Random(1)
    actual = [noisy(random, spans, 0.2) for *_, spans in drawn]
    pairs = zip(drawn, actual, strict=True)
    gains = [1 - seconds(chosen, spans) / seconds(made, spans) for (made, chosen, _), spans in pairs]
    assert min(gains) > -0.10
    assert sum(gain < -0.01 for gain in gains) < len(gains) / 100
    assert statistics.mean(gains) > 0.03


def test_no_simulation_is_shorter_than_possible_or_longer_than_graham_allows(drawn):
    for made, _, durations in drawn:
        priorities = Priorities(made, Estimates(past(**durations)))
        shared, slots = priorities.work / made.max_parallel, made.max_parallel
        for order in (made, made.replace(priorities=priorities)):
            took = seconds(order, durations)
            assert took >= max(shared, priorities.seconds) - 1e-9
            if not made.job.resources:
                assert took <= shared + priorities.seconds * (1 - 1 / slots) + 1e-9


@pytest.mark.parametrize("block", range(4))
def test_every_random_job_has_a_forecast(block):
    for seed in range(block * 150, (block + 1) * 150):
        random = Random(seed)
        made = with_lists(random, random_plan(random)).replace(priorities=None)
        names = [planned.name for planned in made.tasks] + [f"t{number}[{number % 3}]" for number in range(9)]
        known = {name: random.choice([0.0, random.random() * 5]) for name in names if random.random() < 0.7}
        ready = {name: random.random() * 5 for name in names if random.random() < 0.5}
        found = forecast_run(made, [RunTimings(durations={**known, "t0": 1.0}, until_ready=ready)])
        assert found.order is None or sorted(found.order) == list(range(len(made.tasks)))
        assert found.seconds is None or found.seconds >= 0.0


def with_lists(random, made):
    """A plan in which some of the late tasks have a `foreach`."""
    return made.replace(
        tasks=tuple(
            planned.replace(task=planned.task.replace(foreach="x"))
            if planned.late and random.random() < 0.5
            else planned
            for planned in made.tasks
        )
    )

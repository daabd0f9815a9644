"""The critical path of a plan, and which tasks start first because of it."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run
from support.timed_plans import estimates
from support.timing import cpu_seconds, growth

from mprun.jobfile.model import Ready
from mprun.scheduling.critical_path import STEPS, Priorities
from mprun.scheduling.plan import Reused
from mprun.scheduling.scheduler import Scheduler

SERVES = {"db": {"ready": Ready(kind="tcp", what="80")}}


def priorities(made, until_ready=None, **durations):
    return Priorities(made, estimates(durations, until_ready))


def run_with_priorities(spec, slots, durations, *, fail_fast=True, **more):
    """The run of a plan with the priorities of these durations; with `fail_fast` nothing goes ahead."""
    made = plan(spec, slots=slots, fail_fast=fail_fast, **more)
    return Run(made.replace(priorities=Priorities(made, estimates(durations))))


def names(made, found):
    return [made.tasks[number].name for number in found.path]


def test_the_critical_path_is_the_longest_of_all_paths():
    made = plan({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})
    found = priorities(made, a=1.0, b=2.0, c=5.0, d=4.0)
    assert names(made, found) == ["a", "c", "d"]
    assert (found.seconds, found.work, found.tasks) == (10.0, 12.0, 4)
    assert [found.of(number) for number in range(4)] == [STEPS, 60, 90, 40]


def test_without_dependencies_the_longest_task_is_the_critical_path():
    made = plan({"a": (), "b": (), "c": ()})
    assert names(made, priorities(made, a=1.0, b=3.0, c=2.0)) == ["b"]


def test_a_dependency_may_come_after_its_dependent_in_the_file():
    made = plan({"late": ("early",), "early": ()})
    assert names(made, priorities(made, late=1.0, early=1.0)) == ["early", "late"]


def test_a_dependent_on_readiness_starts_when_the_daemon_is_ready():
    made = plan({"db": (), "test": ("db:ready",)}, daemons=("db",), keys=SERVES)
    found = priorities(made, until_ready={"db": 3.0}, test=2.0, db=1000.0)
    assert names(made, found) == ["db", "test"]
    assert (found.seconds, found.work) == (5.0, 2.0)


def test_a_dependent_on_the_start_does_not_wait_for_the_end():
    made = plan({"a": (), "b": ("a:started",)})
    assert priorities(made, a=5.0, b=3.0).seconds == 5.0


def test_a_dependent_on_a_failure_is_not_expected_to_run():
    made = plan({"a": (), "mourn": ("a:failed",)})
    assert names(made, priorities(made, a=1.0, mourn=9.0)) != ["a", "mourn"]


def test_skipped_and_reused_tasks_take_no_time():
    made = plan({"a": (), "b": ("a",), "c": ("b",)}, skipped={"c"})
    done = made.tasks[0].replace(reused=Reused(outcome="succeeded", attempts=1))
    made = made.replace(tasks=(done, *made.tasks[1:]))
    found = priorities(made, a=9.0, b=2.0, c=9.0)
    assert names(made, found) == ["b"]
    assert (found.seconds, found.tasks) == (2.0, 1)


def test_new_tasks_are_counted():
    assert priorities(plan({"a": (), "b": ()}), a=1.0).new == 1


def test_a_list_takes_as_long_as_its_longest_item_and_its_work_is_that_of_all_items():
    made = plan({"each": (), "end": ("each",)}, keys={"each": {"foreach": "x"}})
    known = {"each[0]": 1.0, "each[1]": 4.0, "each[2]": 2.0, "end": 6.0}
    found = priorities(made, **known)
    assert (found.seconds, found.work, found.tasks) == (10.0, 13.0, 4)
    assert found.of_instance(0, "each[1]") == found.of(0) == STEPS
    assert found.of_instance(0, "each[2]") == 80
    # A new instance has the median duration, and none has a higher priority than its group.
    assert found.of_instance(0, "each[9]") == 80
    assert priorities(made, **known, **{"each[9]": 50.0}).of_instance(0, "each[9]") <= STEPS


def test_a_list_of_daemons_takes_no_time():
    made = plan({"each": (), "a": ()}, daemons=("each",), keys={"each": {"foreach": "x"}})
    found = priorities(made, **{"each[0]": 5.0, "a": 1.0})
    assert (found.seconds, found.work, found.of_instance(0, "each[0]")) == (1.0, 1.0, 0)


def test_reused_instances_take_no_time():
    made = plan({"each": ()}, keys={"each": {"foreach": "x"}})
    known = {"each[0]": 1.0, "each[1]": 4.0}
    done = Reused(outcome="succeeded", attempts=1)
    assert priorities(made.replace(reused={"each[1]": done}), **known).seconds == 1.0
    everything = priorities(made.replace(reused={"each[0]": done, "each[1]": done}), **known)
    assert (everything.seconds, everything.of_instance(0, "each[0]")) == (0.0, 0)


def test_an_empty_plan_has_no_critical_path():
    found = priorities(plan({}), a=1.0)
    assert (found.path, found.seconds) == ((), 0.0)


# ---- the order of the starts


def test_the_head_of_the_longest_chain_starts_first():
    spec = {"s1": (), "s2": (), "a": (), "b": ("a",)}
    run = run_with_priorities(spec, 1, {"s1": 1.0, "s2": 2.0, "a": 1.0, "b": 5.0})
    assert run.log == ["start a"]
    assert "start b" in run.started("a").exited("a")
    assert run.started("b").exited("b")[-1] == "start s2"


def test_paths_of_nearly_the_same_length_go_in_the_order_of_the_file():
    run = run_with_priorities(
        {"a": (), "b": (), "c": ()}, 1, {"a": 1.000, "b": 1.001, "c": 1.0005, "long": 9.0}
    )
    assert run.log == ["start a"]


def test_instances_go_by_their_own_durations():
    known = {"list": 1.0, "each[0]": 1.0, "each[1]": 8.0, "s": 4.0}
    spec = {"list": (), "s": (), "each": ("list",)}
    run = run_with_priorities(spec, 1, known, late={"each"}, keys={"each": {"foreach": "x"}}).started("list")
    run.exited("list")
    run.expanded("each", 2)
    assert run.resolved("each[0]", "each[1]").last[-1] == "start each[1]"
    run.started("each[1]")
    assert run.exited("each[1]")[-1] == "start s"


def test_no_task_is_dispatched_ahead_of_a_waiting_one_with_a_longer_path():
    # `low` comes before `high` in the file, and both depend on the same task; `s` is between them.
    spec = {"s": (), "low": ("a",), "a": (), "high": ("a",)}
    run = run_with_priorities(spec, 1, {"s": 2.0, "low": 1.0, "a": 1.0, "high": 9.0}, fail_fast=False)
    run.started("a")
    assert run.log == ["start a"]
    assert [word for word in run.exited("a") if "start" in word] == ["start high", "start s"]


def test_the_longest_path_whose_tokens_are_free_goes_first():
    keys = {name: {"resources": {"db": 1}} for name in ("a", "b")}
    durations = {"a": 9.0, "b": 8.0, "c": 1.0}
    run = run_with_priorities({"c": (), "b": (), "a": ()}, 2, durations, keys=keys, resources={"db": 1})
    assert run.log == ["start a", "start c"]


def seconds_for(count):
    """The CPU time to compute the priorities of this many tasks, and to begin a run with them."""
    spec = {f"t{number}": (f"t{number // 2}",) if number else () for number in range(count)}
    durations = {name: float(number % 97) for number, name in enumerate(spec)}
    made = plan(spec, slots=4)
    return cpu_seconds(
        lambda: Scheduler(made.replace(priorities=Priorities(made, estimates(durations)))).begin(0.0)
    )


def test_priorities_cost_the_same_per_task_in_large_plans_as_in_small_ones():
    assert growth(lambda: seconds_for(2_000), lambda: seconds_for(16_000)) < 3 * 8


def test_a_long_chain_and_a_dense_matrix_have_priorities():
    chain = plan({f"t{number}": (f"t{number - 1}",) if number else () for number in range(5_000)})
    assert len(priorities(chain, t0=1.0).path) == 5_000
    wide = tuple(f"a{number}" for number in range(300))
    dense = plan({**dict.fromkeys(wide, ()), **{f"b{number}": wide for number in range(300)}})
    assert len(priorities(dense, a7=5.0, b9=5.0).path) == 2


@pytest.mark.parametrize("duration", [0.0, 1.0])
def test_tasks_of_the_same_duration_go_in_the_order_of_the_file(duration):
    run = run_with_priorities({"a": (), "b": (), "c": ()}, 2, dict.fromkeys("abc", duration))
    assert run.log == ["start a", "start b"]

"""What is handed over to start by itself, on the success of what runs."""

import pytest
from support.plans import plan
from support.scheduling import Run
from support.timed_plans import estimates

from mprun.jobfile.model import Expect, Limits, Retry
from mprun.scheduling.critical_path import Priorities


def held(spec, held=8, **more):
    return Run(plan(spec, **more), held=held)


def test_a_chain_is_handed_over_at_once():
    run = held({"a": (), "b": ("a",), "c": ("b",)}, slots=1).started("a")
    assert run.log == ["start a", "start b after a", "start c after b"]
    assert run.exited("a") == ["succeeded a", "join a 1/3"]
    run.started("b")
    assert run.exited("b") == ["succeeded b", "join b 2/3"]
    run.started("c")
    run.exited("c")
    assert run.scheduler.finished


def test_only_so_many_are_held_at_a_time():
    run = held({"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": ("a",)}, held=2).started("a")
    assert run.log == ["start a", "start b after a", "start e after a"]
    assert run.exited("a")[-2:] == ["start c after b", "start d after c"]


def test_a_dependent_of_a_failure_is_skipped_once_it_is_not_held_any_more():
    run = held({"a": (), "b": ("a",), "c": ("b",)}).started("a")
    assert run.exited("a", succeeded=False) == ["failed a", "join a 1/3"]
    assert run.start_cancelled("b") == ["skipped b"]
    assert run.start_cancelled("c") == ["skipped c"]
    assert run.scheduler.finished


def test_what_is_tried_again_is_followed_again():
    spec = {"a": (), "b": ("a",)}
    run = held(spec, keys={"a": {"retry": Retry(retries=1)}}).started("a")
    assert run.exited("a", succeeded=False) == ["again a 2 in 0"]
    assert run.start_cancelled("b") == []
    assert run.passed(2.0) == ["start a", "start b after a"]
    run.started("a").exited("a", now=3.0)
    assert run.started("b", now=3.0).exited("b", now=4.0)[0] == "succeeded b"


def test_what_was_not_known_any_more_is_started_as_ever():
    run = held({"a": (), "b": ("a",)}).started("a")
    run.exited("a")
    assert run.start_cancelled("b") == ["start b"]
    assert run.started("b").exited("b")[0] == "succeeded b"


def test_a_task_may_follow_several():
    run = held({"a": (), "b": (), "c": ("a", "b")}).started("a", "b")
    assert run.log == ["start a", "start b", "start c after a, b"]
    run.exited("b")
    run.exited("a")
    assert run.started("c").exited("c")[0] == "succeeded c"


@pytest.mark.parametrize(
    "of",
    [
        {"a": {"expect": Expect(output="x")}},
        {"a": {"limits": Limits(log=1000)}},
        {"b": {"resources": {"db": 1}}},
    ],
    ids=["what is expected of it", "its log", "tokens"],
)
def test_it_is_not_held_where_the_exit_code_does_not_say_all(of):
    run = held({"a": (), "b": ("a",)}, keys=of, resources={"db": 1}).started("a")
    assert run.log == ["start a"]
    assert run.exited("a")[-1] == "start b"


@pytest.mark.parametrize("more", [{"daemons": ("b",)}, {"late": ("b",)}, {"fail_fast": True}])
def test_it_is_not_held_where_more_is_to_be_decided(more):
    assert held({"a": (), "b": ("a",)}, **more).log == ["start a"]


def test_nothing_is_held_while_anything_is_ready():
    spec = {"a": (), "x": (), "y": (), "z": (), "b": ("a",)}
    run = held(spec, slots=1).started("a")
    assert run.log == ["start a", "start x"]
    assert run.exited("a")[-1] == "start y"
    run.started("x")
    assert run.exited("x")[-1] == "start z"
    run.started("y")
    assert run.exited("y")[-1] == "start b"


def test_what_waits_for_many_is_not_looked_for_each_time_that_one_of_them_starts():
    many = {f"t{number}": () for number in range(20)}
    run = held({**many, "last": tuple(many)}).started(*many)
    for name in [*many][:11]:
        run.exited(name)
    assert "start last" not in " ".join(run.log)


@pytest.mark.parametrize("condition", ["finished", "failed", "started", "ready"])
def test_it_is_not_held_for_another_condition(condition):
    assert held({"a": (), "b": (f"a:{condition}",)}).log == ["start a"]


def test_what_is_held_is_withdrawn_when_the_run_is_stopped():
    run = held({"a": (), "b": ("a",)}).started("a")
    assert run.take(run.scheduler.stop("user", 1.0)) == ["withdraw b", "SIGTERM a user"]
    assert run.exited("a")[0] == "stopped a"
    assert run.start_cancelled("b") == ["cancelled b"]
    assert run.scheduler.finished


def test_what_succeeded_before_it_heard_that_it_was_to_end_has_succeeded():
    run = held({"a": (), "b": ("a",)}).started("a")
    run.stopped("a")
    assert run.exited("a", asked=False)[0] == "succeeded a"
    run.started("b")
    assert run.exited("b")[0] == "succeeded b"


def test_of_what_may_follow_the_longest_way_goes_first():
    made = plan({"a": (), "b": ("a",), "c": ("a",), "d": ("c",)})
    ranked = made.replace(priorities=Priorities(made, estimates({"b": 1.0, "c": 1.0, "d": 9.0})))
    assert Run(ranked, held=1).log == ["start a", "start c after a"]

"""Tasks that are dispatched before their dependencies have succeeded, and how the launcher queues them."""

import pytest
from support.plans import plan
from support.scheduling import Run
from support.timed_plans import estimates

from mprun.jobfile.model import Expect, Limits, Retry
from mprun.scheduling.critical_path import Priorities


def held(spec, held=8, **more):
    return Run(plan(spec, **more), held=held)


def test_a_chain_is_dispatched_at_once():
    run = held({"a": (), "b": ("a",), "c": ("b",)}, slots=1).started("a")
    assert run.log == ["start a", "start b after a", "start c after b"]
    assert run.exited("a") == ["succeeded a", "join a 1/3"]
    run.started("b")
    assert run.exited("b") == ["succeeded b", "join b 2/3"]
    run.started("c")
    run.exited("c")
    assert run.scheduler.finished


def test_the_number_of_held_tasks_is_limited():
    run = held({"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": ("a",)}, held=2).started("a")
    assert run.log == ["start a", "start b after a", "start e after a"]
    assert run.exited("a")[-2:] == ["start c after b", "start d after c"]


def test_a_dependent_of_a_failure_is_skipped_once_it_is_not_held_any_more():
    run = held({"a": (), "b": ("a",), "c": ("b",)}).started("a")
    assert run.exited("a", succeeded=False) == ["failed a", "join a 1/3"]
    assert run.start_cancelled("b") == ["skipped b"]
    assert run.start_cancelled("c") == ["skipped c"]
    assert run.scheduler.finished


def test_dependents_of_a_retried_task_are_held_again():
    spec = {"a": (), "b": ("a",)}
    run = held(spec, keys={"a": {"retry": Retry(retries=1)}}).started("a")
    assert run.exited("a", succeeded=False) == ["retry a 2 in 0"]
    assert run.start_cancelled("b") == []
    assert run.advance(2.0) == ["start a", "start b after a"]
    run.started("a").exited("a", now=3.0)
    assert run.started("b", now=3.0).exited("b", now=4.0)[0] == "succeeded b"


def test_a_task_whose_held_start_was_cancelled_too_late_is_started():
    run = held({"a": (), "b": ("a",)}).started("a")
    run.exited("a")
    assert run.start_cancelled("b") == ["start b"]
    assert run.started("b").exited("b")[0] == "succeeded b"


def test_a_task_may_be_held_for_several_dependencies():
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
def test_a_task_is_not_held_if_more_than_the_exit_code_decides(of):
    run = held({"a": (), "b": ("a",)}, keys=of, resources={"db": 1}).started("a")
    assert run.log == ["start a"]
    assert run.exited("a")[-1] == "start b"


@pytest.mark.parametrize("more", [{"daemons": ("b",)}, {"late": ("b",)}, {"fail_fast": True}])
def test_a_task_is_not_held_if_more_has_to_be_decided(more):
    assert held({"a": (), "b": ("a",)}, **more).log == ["start a"]


def test_no_task_is_held_while_another_is_ready():
    spec = {"a": (), "x": (), "y": (), "z": (), "b": ("a",)}
    run = held(spec, slots=1).started("a")
    assert run.log == ["start a", "start x"]
    assert run.exited("a")[-1] == "start y"
    run.started("x")
    assert run.exited("x")[-1] == "start z"
    run.started("y")
    assert run.exited("y")[-1] == "start b"


def test_a_task_with_many_dependencies_is_not_held():
    many = {f"t{number}": () for number in range(20)}
    run = held({**many, "last": tuple(many)}).started(*many)
    for name in [*many][:11]:
        run.exited(name)
    assert "start last" not in " ".join(run.log)


@pytest.mark.parametrize("condition", ["finished", "failed", "started", "ready"])
def test_a_task_is_held_only_for_the_condition_succeeded(condition):
    assert held({"a": (), "b": (f"a:{condition}",)}).log == ["start a"]


def test_held_starts_are_cancelled_when_the_run_is_stopped():
    run = held({"a": (), "b": ("a",)}).started("a")
    assert run.apply(run.scheduler.stop("user", 1.0)) == ["cancel start b"]
    # Until that is confirmed, it may have started.
    assert run.start_cancelled("b") == ["cancelled b", "SIGTERM a user"]
    assert run.exited("a")[0] == "stopped a"
    assert run.scheduler.finished


def test_an_attempt_that_succeeded_before_it_got_its_stop_signal_has_succeeded():
    run = held({"a": (), "b": ("a",)}).started("a")
    run.stopped("a")
    assert run.exited("a", asked=False)[0] == "succeeded a"
    run.started("b")
    assert run.exited("b")[0] == "succeeded b"


def test_the_dependent_with_the_highest_priority_is_held_first():
    made = plan({"a": (), "b": ("a",), "c": ("a",), "d": ("c",)})
    with_priorities = made.replace(priorities=Priorities(made, estimates({"b": 1.0, "c": 1.0, "d": 9.0})))
    assert Run(with_priorities, held=1).log == ["start a", "start c after a"]

"""The scheduler in virtual time: tasks that are resolved during the run, groups, and known skips."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run

from mprun.jobfile.model import Retry

CONDITIONS = ("succeeded", "finished", "started", "ready", "failed")


# ---- late tasks


def test_a_late_task_is_resolved_once_its_conditions_are_met_and_then_starts():
    run = Run(plan({"a": (), "b": ("a",)}, late=("b",))).started("a")
    assert run.exited("a") == ["succeeded a", "join a 1/2", "resolve b"]
    assert run.resolved("b").last == ["start b"]


def test_a_late_task_is_resolved_once_however_often_it_is_retried():
    run = (
        Run(plan({"a": ()}, late=("a",), keys={"a": {"retry": Retry(retries=1)}})).resolved("a").started("a")
    )
    run.exited("a", succeeded=False)
    assert run.advance(1.0) == ["start a"]


def test_later_tasks_do_not_start_while_an_earlier_one_is_being_resolved():
    run = Run(plan({"a": (), "b": (), "c": ()}, slots=1, late=("b",)))
    assert run.log == ["start a", "resolve b"]
    assert run.resolved("b").last == ["start b"]
    run = Run(plan({"a": (), "b": (), "c": ()}, slots=1, late=("a",)))
    assert run.log == ["resolve a"]
    assert run.resolved("a").last == ["start a", "start b"]


def test_joins_begin_after_late_tasks_without_dependencies_have_started():
    run = Run(plan({"a": (), "b": ()}, late=("b",), join=[("a", 0.5)])).resolved("b").started("a", now=1.0)
    assert run.scheduler.deadline is None
    run.started("b", now=2.0)
    assert run.scheduler.deadline == 2.5


def test_a_late_daemon_alone_is_started_before_the_run_ends():
    run = Run(plan({"d": ()}, daemons=("d",), late=("d",)))
    assert run.log == ["resolve d"]
    assert run.resolved("d").last == ["start d"]
    assert run.started("d").last == ["SIGTERM d run_finished"]


def test_a_task_whose_when_is_false_is_skipped_and_counts_as_a_success():
    spec = {"a": (), **{condition: (f"a:{condition}",) for condition in CONDITIONS}}
    run = Run(plan(spec, late=("a",)))
    assert run.skipped("a", "`when` is false") == [
        "skipped a",
        "skipped failed",
        *(f"start {condition}" for condition in CONDITIONS[:-1]),
    ]
    assert run.reasons == {"a": "`when` is false", "failed": "`a` did not fail"}


def test_a_task_that_refers_to_nothing_fails_without_an_attempt():
    run = Run(plan({"a": (), "b": ("a",), "c": ("a:failed",)}, late=("a",)))
    assert run.resolve_failed("a") == ["failed a", "skipped b", "start c"]
    assert run.started("c").last == ["join a 1/3"]
    assert run.reasons["a"] == "nothing there"


def test_a_task_that_cannot_be_resolved_stops_the_run_with_fail_fast():
    run = Run(plan({"a": (), "b": ()}, late=("b",), fail_fast=True)).started("a")
    assert run.resolve_failed("b") == ["failed b", "SIGTERM a fail_fast"]
    run = Run(plan({"a": (), "b": ()}, late=("b",), fail_fast=True, keys={"b": {"allow_failure": True}}))
    assert run.started("a").resolve_failed("b") == ["failed b"]


def test_an_answer_for_a_cancelled_task_has_no_effect():
    run = Run(plan({"a": (), "b": (), "c": ()}, late=("a", "b"), daemons=("c",)))
    assert run.log == ["resolve a", "resolve b"]
    run.apply(run.scheduler.stop("user", 1.0))
    assert run.last == ["cancelled a", "cancelled b", "cancelled c"]
    assert run.scheduler.finished
    assert run.resolved("a").last == []
    assert run.skipped("a") == run.resolve_failed("a") == run.expanded("a", 2) == run.expanded("a", 0) == []
    assert run.scheduler.expanded == set()
    assert len(run.scheduler.outcomes) == 3


def test_a_cancelled_task_is_not_resolved():
    run = Run(plan({"a": (), "b": ("a:failed",)}, late=("b",), fail_fast=True)).started("a")
    assert run.exited("a", succeeded=False) == ["failed a", "cancelled b", "join a 1/2"]


def test_a_late_task_with_an_unmet_condition_is_never_resolved():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",)}, late=("b",))).started("a")
    assert run.exited("a", succeeded=False)[:3] == ["failed a", "skipped b", "skipped c"]


def test_a_task_that_is_being_resolved_is_cancelled_when_the_executor_is_lost():
    run = Run(plan({"a": (), "b": ()}, late=("b",))).started("a")
    assert run.apply(run.scheduler.handle_executor_lost("launcher lost", {0}, 1.0)) == [
        "cancelled b",
        "unknown a",
        "join a 1/2",
    ]
    assert run.scheduler.finished


# ---- groups


def test_instances_take_the_place_of_their_group():
    run = Run(plan({"g": (), "b": ()}, late=("g",)))
    assert run.log == ["resolve g"]
    assert run.expanded("g", 2) == ["resolve g[0]", "resolve g[1]"]
    assert run.resolved("g[0]").last == ["start g[0]"]
    assert run.resolved("g[1]").last == ["start g[1]", "start b"]
    run.started("g[0]", "g[1]", "b")
    run.exited("b")
    assert run.exited("g[0]") == ["succeeded g[0]", "join g[0] 1/3"]
    assert run.exited("g[1]") == ["succeeded g[1]", "join g[1] 2/3", "join b 3/3"]
    assert run.scheduler.finished
    assert run.scheduler.expanded == {0}
    assert run.scheduler.outcomes == [None, "succeeded", "succeeded", "succeeded"]


def test_dependents_of_a_group_wait_for_all_of_its_instances():
    run = Run(plan({"g": (), "b": ("g",), "c": ("g:finished",)}, late=("g",)))
    run.expanded("g", 3)
    run.resolved("g[0]", "g[1]", "g[2]").started("g[0]", "g[1]", "g[2]")
    run.exited("g[0]")
    assert "skipped b" in run.exited("g[1]", succeeded=False)
    assert run.exited("g[2]")[-1] == "start c"


@pytest.mark.parametrize("condition", ["started", "ready"])
def test_started_and_ready_have_to_be_met_by_all_instances(condition):
    run = Run(plan({"g": (), "b": (f"g:{condition}",)}, late=("g",)))
    run.expanded("g", 2)
    run.resolved("g[0]", "g[1]").started("g[0]").is_ready("g[0]")
    assert "start b" not in run.log
    run.started("g[1]").is_ready("g[1]")
    assert run.log.count("start b") == 1


def test_a_group_of_an_empty_list_succeeds_and_is_not_joined():
    run = Run(plan({"g": (), "b": ("g",), "c": ("g:failed",)}, late=("g",)))
    assert run.expanded("g", 0) == ["succeeded g", "skipped c", "start b"]
    assert run.reasons["g"] == "the list is empty"
    assert run.scheduler.expanded == set()
    assert run.started("b").exited("b") == ["succeeded b", "join b 1/2"]
    assert run.scheduler.finished


def test_instances_start_before_tasks_that_come_after_their_group_in_the_file():
    run = Run(plan({"s": (), "g": ("s",), "b": (), "c": ()}, slots=1, late=("g",))).started("s")
    assert run.exited("s")[-1] == "resolve g"
    assert run.expanded("g", 2) == ["resolve g[0]", "resolve g[1]"]
    assert run.resolved("g[0]").last == ["start g[0]"]
    # One task is dispatched ahead of the slots: the second instance, not `b`.
    assert run.resolved("g[1]").last == ["start g[1]"]


def test_instances_are_joined_in_the_place_of_their_group_with_its_timeout():
    join = [("b", None), ("g", 1.0), ("a", None)]
    run = Run(plan({"a": (), "b": (), "g": ("b",)}, late=("g",), join=join)).started("a", "b")
    run.exited("a")
    assert run.exited("b", now=1.0) == ["succeeded b", "join b 1/3", "resolve g"]
    run.expanded("g", 2, now=1.5)
    run.resolved("g[0]", "g[1]", now=1.5).started("g[0]", "g[1]", now=2.0)
    assert run.exited("g[1]", now=2.1) == ["succeeded g[1]"]
    assert run.scheduler.deadline == 2.5
    assert run.advance(2.5) == ["join g[1] 2/4", "join a 3/4"]
    assert run.exited("g[0]", now=9.0)[-1] == "join g[0] 4/4"


def test_the_instances_of_a_group_whose_join_timed_out_are_joined_at_the_end():
    run = Run(plan({"a": (), "g": ("a",)}, late=("g",), join=[("g", 1.0), ("a", None)])).started("a")
    run.advance(1.0)
    run.exited("a", now=2.0)
    run.expanded("g", 2)
    run.resolved("g[0]", "g[1]").started("g[0]", "g[1]")
    run.exited("g[1]")
    assert run.exited("g[0]") == ["succeeded g[0]", "join g[0] 2/3", "join g[1] 3/3"]
    assert run.scheduler.finished


def test_instances_of_a_daemon_are_daemons():
    run = Run(plan({"g": (), "a": ()}, daemons=("g",), late=("g",)))
    run.expanded("g", 2)
    run.resolved("g[0]", "g[1]").started("g[0]", "g[1]", "a")
    assert run.exited("a")[1:] == ["join a 1/1", "SIGTERM g[1] run_finished", "SIGTERM g[0] run_finished"]


def test_each_instance_may_be_skipped_or_fail_to_resolve():
    run = Run(plan({"g": (), "b": ("g:finished",)}, late=("g",)))
    run.expanded("g", 2)
    assert run.skipped("g[0]") == ["skipped g[0]"]
    assert run.resolve_failed("g[1]") == ["failed g[1]", "start b"]


def test_instances_are_cancelled_with_the_run():
    run = Run(plan({"g": (), "b": ("g",)}, late=("g",), slots=1))
    run.expanded("g", 3)
    run.resolved("g[0]", "g[1]").started("g[0]")
    assert run.apply(run.scheduler.stop("user", 1.0)) == [
        "cancelled b",
        "cancelled g[2]",
        "cancel start g[1]",
        "SIGTERM g[0] user",
    ]
    run.apply(run.scheduler.handle_start_cancelled(run.number("g[1]"), 1.0))
    assert run.outcome("g[1]") == "cancelled"
    run.exited("g[0]")
    assert run.scheduler.finished


# ---- known skips


def test_a_task_known_to_be_skipped_is_skipped_at_once_and_counts_as_a_success():
    spec = {"a": (), **{condition: (f"a:{condition}",) for condition in CONDITIONS}}
    run = Run(plan(spec, skipped=("a",)))
    assert run.log == [
        "skipped a",
        "skipped failed",
        *(f"start {condition}" for condition in CONDITIONS[:-1]),
    ]
    assert run.reasons["a"] == "`when` is false"


def test_a_task_known_to_be_skipped_does_not_wait_for_its_dependencies():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",)}, skipped=("b",)))
    assert run.log == ["skipped b", "start a", "start c"]


def test_a_task_known_to_be_skipped_has_its_own_reason():
    run = Run(plan({"a": (), "b": ("a:failed",), "c": ("b",)}, skipped=("a", "b")))
    assert run.log == ["skipped a", "skipped b", "start c"]
    assert run.reasons["b"] == "`when` is false"


def test_a_run_whose_tasks_are_all_skipped_is_finished_at_once():
    run = Run(plan({"a": (), "b": ("a",)}, skipped=("a", "b")))
    assert run.log == ["skipped a", "skipped b"]
    assert run.scheduler.finished

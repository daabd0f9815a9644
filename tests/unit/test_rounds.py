"""A recipe as one: its tasks run again together, and others wait for the outcome of the last round."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run as AnyRun

from mprun.jobfile.model import Ready, Retry, Stop, Whole
from mprun.scheduling.checked_scheduler import CheckedRoundScheduler
from mprun.scheduling.plan import Reused
from mprun.scheduling.verdict import verdict


def Run(the_plan):
    return AnyRun(the_plan, scheduler_type=CheckedRoundScheduler)


def whole_plan(spec, members, *, retries=0, timeout=None, delay=0.0, keys=None, **more):
    """A plan in which `members` are one recipe."""
    whole = Whole(name="r", retry=Retry(retries=retries, delay=delay), timeout=timeout)
    of_tasks = {name: {**(keys or {}).get(name, {}), "whole": whole} for name in members}
    return plan(spec, keys={**(keys or {}), **of_tasks}, **more)


def test_others_wait_for_the_whole_recipe_and_its_own_tasks_do_not():
    spec = {"a": (), "b": ("a",), "c": (), "out": ("a",)}
    run = Run(whole_plan(spec, "abc", retries=1)).started("a", "c")
    assert run.exited("a") == ["(succeeded a)", "start b"]
    assert run.exited("c", now=2.0) == ["(succeeded c)"]
    run.started("b", now=2.0)
    assert run.exited("b", now=3.0) == [
        "(succeeded b)",
        *("succeeded a", "succeeded b", "succeeded c"),
        *("join a 1/4", "join b 2/4", "join c 3/4"),
        "start out",
    ]


def test_a_failure_ends_what_runs_and_all_of_it_runs_again_after_the_delay():
    spec = {"db": (), "a": ("db:started",), "b": (), "out": ("a", "b")}
    run = Run(whole_plan(spec, ["db", "a", "b"], retries=1, delay=5.0, daemons=("db",)))
    run.started("db", "a", "b")
    assert run.exited("a", succeeded=False, now=1.0) == [
        "(failed a)",
        "SIGTERM b recipe_failed",
        "SIGTERM db recipe_failed",
    ]
    assert run.exited("b", now=2.0, code=-15, succeeded=False) == ["(stopped b)"]
    assert run.exited("db", now=2.0, code=-15, succeeded=False) == [
        "(stopped db)",
        "recipe db 2 in 5",
        "retry a 2 in 5",
        "recipe b 2 in 5",
    ]
    assert run.advance(6.9) == []
    assert run.advance(7.0) == ["start db", "start b"]
    assert run.started("db", "b", now=7.0).last == []
    assert "start a" in run.log[-3:]
    run.started("a", now=7.0)
    run.exited("a", now=8.0)
    assert "start out" not in run.log
    assert run.exited("b", now=8.0)[-1] == "start out"
    assert [run.outcome(name) for name in ("a", "b", "db")] == ["succeeded", "succeeded", None]


def test_the_last_round_runs_to_its_end_and_its_failure_is_that_of_its_task():
    run = Run(whole_plan({"a": (), "b": (), "c": ("a:failed",), "out": ("a",)}, "abc", retries=1))
    run.started("a", "b").exited("a", succeeded=False)
    run.exited("b", succeeded=False, code=-15)
    run.advance(1.0)
    run.started("a", "b", now=1.0)
    assert run.exited("a", succeeded=False, now=2.0) == ["(failed a)", "start c"]
    run.started("c", now=2.0).exited("c", now=3.0)
    last = run.exited("b", now=4.0)
    assert {"failed a", "succeeded b", "succeeded c", "skipped out"} <= set(last)


def test_own_retries_come_first_and_are_counted_anew_in_each_round():
    keys = {"a": {"retry": Retry(retries=1)}}
    run = Run(whole_plan({"a": ()}, "a", retries=1, keys=keys)).started("a")
    assert run.exited("a", succeeded=False) == ["retry a 2 in 0"]
    run.advance(1.0)
    run.started("a", now=1.0)
    assert run.exited("a", succeeded=False, now=2.0) == ["(failed a)", "retry a 3 in 0"]
    run.advance(2.0)
    run.started("a", now=2.0)
    assert run.exited("a", succeeded=False, now=3.0) == ["retry a 4 in 0"]
    run.advance(3.0)
    run.started("a", now=3.0)
    assert run.exited("a", succeeded=False, now=4.0)[:2] == ["(failed a)", "failed a"]


def test_the_timeout_counts_from_the_first_start_of_each_round():
    run = Run(whole_plan({"a": (), "b": ("a",)}, "ab", retries=1, timeout=10.0)).started("a", now=1.0)
    run.exited("a", now=5.0)
    run.started("b", now=6.0)
    assert run.scheduler.deadline == 11.0
    assert run.advance(11.0) == ["SIGTERM b recipe_timeout dump"]
    run.exited("b", succeeded=False, code=-15, now=12.0)
    assert run.last[0] == "(timed_out b)"
    run.advance(12.0)
    run.started("a", now=12.0)
    assert run.advance(21.9) == []
    assert run.advance(22.0) == ["(skipped b)", "SIGTERM a recipe_timeout dump"]
    last = run.exited("a", succeeded=False, code=-15, now=23.0)
    assert {"timed_out a", "skipped b"} <= set(last)
    assert run.reasons["b"] == "recipe_timeout"


@pytest.mark.parametrize("moment", ["before the failure", "while it ends", "in the delay"])
def test_a_stop_of_the_run_gives_each_task_the_outcome_of_its_last_attempt(moment):
    run = Run(whole_plan({"a": (), "b": (), "c": ("b",)}, "abc", retries=3, delay=9.0)).started("a", "b")
    if moment != "before the failure":
        run.exited("a", succeeded=False)
    if moment == "in the delay":
        run.exited("b", succeeded=False, code=-15)
    run.apply(run.scheduler.stop("user", 3.0))
    for name in "ab":
        if run.outcome(name) is None:
            run.exited(name, succeeded=False, code=-15, now=4.0)
    expected = {"before the failure": ["stopped", "stopped"]}.get(moment, ["failed", "stopped"])
    assert [run.outcome(name) for name in "ab"] == expected
    assert run.outcome("c") == "cancelled"
    assert run.scheduler.finished


def test_a_task_that_a_user_stops_is_the_last_round():
    run = Run(whole_plan({"a": (), "b": ()}, "ab", retries=3)).started("a", "b")
    run.stopped("a")
    run.exited("a", succeeded=False, code=-15)
    run.exited("b", succeeded=False)
    assert [run.outcome(name) for name in "ab"] == ["stopped", "failed"]


def test_fail_fast_counts_the_outcome_of_the_last_round():
    run = Run(whole_plan({"a": (), "z": ()}, "a", retries=1, fail_fast=True)).started("a", "z")
    run.exited("a", succeeded=False)
    run.advance(1.0)
    run.started("a", now=1.0)
    assert "SIGTERM z fail_fast" not in run.log
    run.exited("a", succeeded=False, now=2.0)
    assert "SIGTERM z fail_fast" in run.log


def test_a_daemon_is_ready_for_others_when_the_recipe_is_over():
    keys = {"db": {"ready": Ready(kind="tcp", what="1")}}
    spec = {"db": (), "fill": ("db:ready",), "out": ("db:ready",)}
    run = Run(whole_plan(spec, ["db", "fill"], retries=1, daemons=("db",), keys=keys)).started("db")
    assert run.is_ready("db") == ["ready db 1", "start fill"]
    run.started("fill")
    assert run.exited("fill", succeeded=False)[0] == "(failed fill)"
    run.exited("db", succeeded=False, code=-15)
    run.advance(1.0)
    run.started("db", now=1.0)
    assert run.is_ready("db", 2, now=1.0) == ["ready db 2", "start fill"]
    run.started("fill", now=1.0)
    assert run.exited("fill", now=2.0)[-1] == "start out"


def test_a_task_that_is_resolved_too_late_belongs_to_no_round():
    run = Run(whole_plan({"a": (), "b": ()}, "ab", retries=1, late=["b"])).started("a")
    assert run.exited("a", succeeded=False) == ["(failed a)"]
    assert run.resolved("b").last == ["(cancelled b)", "retry a 2 in 0"]
    assert run.advance(1.0) == ["start a", "resolve b"]


def test_two_recipes_do_not_wait_for_themselves():
    stop = Stop(grace=1.0)
    first, second = (Whole(name=name, retry=Retry(retries=1), timeout=None) for name in ("r", "s"))
    keys = {name: {"whole": first if name in "ab" else second, "stop": stop} for name in "abcd"}
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",), "d": ("c",)}, keys=keys)).started("a")
    run.exited("a")
    run.started("b").exited("b", succeeded=False)
    run.advance(1.0)
    run.started("a").exited("a")
    run.started("b").exited("b")
    assert run.last[-1] == "start c"
    run.started("c").exited("c", succeeded=False)
    run.advance(2.0)
    assert run.last == ["start c"]


def test_a_user_stops_a_task_that_has_ended_and_its_dependents_are_told_once():
    run = Run(whole_plan({"a": (), "x": (), "b": ("a", "x"), "c": ()}, "abc", retries=1))
    run.started("a", "x", "c").exited("a")
    assert "start b" not in run.stopped("a")
    run.exited("x")
    assert run.last[-1] == "start b"
    run.started("b").exited("b")
    run.exited("c", succeeded=False)
    assert [run.outcome(name) for name in "abc"] == ["succeeded", "succeeded", "failed"]


def test_fail_fast_does_not_wait_for_the_end_of_the_last_round():
    run = Run(whole_plan({"a": (), "b": (), "z": ()}, "ab", timeout=60.0, fail_fast=True))
    run.started("a", "b", "z")
    assert {"SIGTERM b fail_fast", "SIGTERM z fail_fast"} <= set(run.exited("a", succeeded=False))


def test_only_a_task_that_has_failed_itself_is_flaky():
    keys = {"c": {"retry": Retry(retries=1)}}
    run = Run(whole_plan({"a": (), "b": (), "c": ()}, "abc", retries=2, keys=keys)).started("a", "b", "c")
    run.exited("a")
    run.exited("b", succeeded=False)
    run.exited("c", succeeded=False, code=-15)
    for now in (2.0, 3.0):
        run.advance(now)
        run.started("a", "b", "c", now=now)
        run.exited("a", now=now)
        run.exited("b", now=now, succeeded=now > 2)
        run.exited("c", now=now)
    assert [run.outcome(name) for name in "abc"] == ["succeeded"] * 3
    assert run.scheduler.ends(()).flaky == {1: False}


def test_the_timeout_of_the_last_round_meets_a_task_between_two_of_its_own_attempts():
    keys = {"a": {"retry": Retry(retries=5, delay=60.0)}}
    spec = {"a": (), "b": ("a",), "db": (), "out": ("a",)}
    run = Run(whole_plan(spec, ["a", "b", "db"], timeout=9.0, keys=keys, daemons=("db",)))
    run.started("a", "db").exited("a", succeeded=False)
    assert run.advance(9.0) == ["(failed a)", "(skipped b)", "SIGTERM db recipe_timeout dump"]
    run.exited("db", succeeded=False, code=-15, now=9.5)
    assert [run.outcome(name) for name in ("a", "b", "db", "out")] == [
        *("failed", "skipped", "stopped", "skipped"),
    ]
    assert run.advance(61.0) == []


def test_a_timeout_is_retried_even_if_no_task_has_failed():
    run = Run(whole_plan({"a": (), "b": ()}, "ab", retries=1, timeout=9.0, slots=1)).started("a")
    run.exited("a", now=8.0)
    assert "start b" in run.log
    assert run.advance(9.0) == ["cancel start b"]
    assert run.start_cancelled("b", now=9.0) == ["(skipped b)", "recipe a 2 in 0"]
    assert run.advance(9.0) == ["start a", "start b"]


def test_a_recipe_that_may_fail_is_retried_all_the_same():
    whole = Whole(name="r", retry=Retry(retries=1), timeout=None, allow_failure=True)
    run = Run(plan({"a": ()}, keys={"a": {"whole": whole, "allow_failure": True}})).started("a")
    assert run.exited("a", succeeded=False) == ["(failed a)", "retry a 2 in 0"]


def test_a_failure_that_is_allowed_inside_a_recipe_is_not_retried():
    run = Run(whole_plan({"a": (), "b": ("a",)}, "ab", retries=1, keys={"a": {"allow_failure": True}}))
    run.started("a")
    assert run.exited("a", succeeded=False) == ["(failed a)", "start b"]


def test_no_round_follows_while_something_of_a_lost_attempt_may_run():
    run = Run(whole_plan({"a": (), "b": ()}, "ab", retries=1)).started("a", "b")
    run.apply(run.scheduler.handle_host_lost(0, "its host was lost", 1.0, is_over=False))
    run.exited("b")
    assert [run.outcome(name) for name in "ab"] == ["unknown", "succeeded"]


def test_a_recipe_that_is_reused_has_no_rounds():
    whole = Whole(name="r", retry=Retry(retries=1), timeout=None)
    the_plan = plan({"a": (), "b": ()}, keys={name: {"whole": whole} for name in "ab"})
    ends = {"a": "succeeded", "b": "unknown"}
    tasks = tuple(
        planned.replace(reused=Reused(outcome=ends[planned.name], attempts=1, reason=""))
        for planned in the_plan.tasks
    )
    run = Run(the_plan.replace(tasks=tasks))
    assert [run.outcome(name) for name in "ab"] == ["succeeded", "unknown"]
    assert run.scheduler.finished


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_the_next_round_waits_for_the_same_instances(ended):
    spec = {"list": (), "g": ("list",), "a": ("g",), "b": ()}
    run = Run(whole_plan(spec, "ab", retries=1, late=("g",))).started("list", "b")
    run.exited("list")
    run.expanded("g", 2)
    run.resolved("g[0]", "g[1]").started("g[0]", "g[1]")
    for number in range(ended):
        run.exited(f"g[{number}]")
    run.exited("b", succeeded=False)
    if ended == 2:
        run.start_cancelled("a")
    run.advance(2.0)
    assert ("start a" in run.last) == (ended == 2)
    for number in range(ended, 2):
        assert "start a" not in run.last
        run.exited(f"g[{number}]", now=3.0)
    assert run.log.count("start a") == 1 + (ended == 2)


def timed_plan(**more):
    spec = {"db": (), "a": ("db:started",), "out": ("db:started",)}
    return whole_plan(spec, ["db", "a"], timeout=10.0, daemons=("db",), **more)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_recipe_whose_tasks_have_ended_before_its_timeout_has_not_timed_out(retries):
    run = Run(timed_plan(retries=retries)).started("db", "a")
    # The report of its end is late, because of its files.
    assert run.advance(10.0) == ["SIGTERM a recipe_timeout dump"]
    assert run.exited("a", asked=True, now=9.999)[:3] == ["(succeeded a)", "succeeded a", "join a 1/2"]
    assert run.last[-1] == "start out"
    assert not any("SIGTERM db" in line for line in run.log)


def test_a_failure_in_time_whose_report_comes_after_the_timeout_is_a_failure():
    run = Run(timed_plan(retries=1)).started("db", "a")
    run.advance(10.0)
    assert run.exited("a", succeeded=False, now=9.999) == ["(failed a)", "SIGTERM db recipe_failed"]
    run.exited("db", succeeded=False, code=-15, now=10.1)
    assert run.advance(10.2) == ["start db"]


def test_a_task_that_succeeds_too_late_has_timed_out_with_its_recipe():
    run = Run(timed_plan()).started("db", "a")
    run.advance(10.0)
    assert run.exited("a", asked=False, now=10.001) == ["(timed_out a)", "SIGTERM db recipe_timeout dump"]


def test_a_failure_in_time_that_its_own_retry_covers_does_not_end_the_round_in_time():
    keys = {"a": {"retry": Retry(retries=1)}}
    run = Run(timed_plan(keys=keys)).started("db", "a")
    run.advance(10.0)
    assert run.exited("a", succeeded=False, now=9.999) == ["(failed a)", "SIGTERM db recipe_timeout dump"]


def test_a_host_that_was_lost_in_an_earlier_round_does_not_matter_to_a_task_that_is_skipped():
    run = Run(whole_plan({"a": (), "b": ()}, "ab", retries=1, late={"a"}))
    run.resolved("a").started("a", "b")
    run.apply(run.scheduler.handle_host_lost(0, "its host was lost", 1.0))
    run.exited("b", succeeded=False, code=-15, now=1.1)
    run.advance(1.2)
    assert run.skipped("a")[0] == "(skipped a)"
    run.started("b", now=1.3).exited("b", now=2.0)
    assert [run.outcome(name) for name in "ab"] == ["skipped", "succeeded"]


@pytest.mark.parametrize("stopped", ["the run", "a task"])
def test_a_stop_in_the_second_round_keeps_the_outcomes_of_what_has_not_started_in_it(stopped):
    spec = {"one": (), "ok": ("one",), "bad": ("one", "ok"), "never": ("bad",)}
    run = Run(whole_plan(spec, list(spec), retries=2)).started("one")
    run.exited("one")
    run.started("ok").exited("ok")
    run.started("bad").exited("bad", succeeded=False)
    run.advance(2.0)
    run.started("one", now=2.0)
    if stopped == "the run":
        run.apply(run.scheduler.stop("user", 3.0))
    else:
        run.stopped(*spec, now=3.0)
    run.exited("one", succeeded=False, code=-15, now=4.0)
    assert [run.outcome(name) for name in spec] == ["stopped", "stopped", "failed", "cancelled"]
    assert (run.reasons["ok"], run.reasons["bad"]) == ("user", "exit")


def test_no_attempt_is_announced_twice():
    run = Run(whole_plan({"a": (), "b": ("a",)}, "ab", retries=3)).started("a")
    run.exited("a")
    run.started("b").exited("b", succeeded=False)
    assert run.last == ["(failed b)", "recipe a 2 in 0", "retry b 2 in 0"]
    run.advance(2.0)
    run.started("a", now=2.0).exited("a", succeeded=False, now=3.0)
    # The second attempt of `b` has not begun.
    assert run.last == ["(failed a)", "(skipped b)", "retry a 3 in 0"]


@pytest.mark.parametrize("condition", ["started", "ready"])
def test_no_one_outside_starts_for_a_daemon_that_has_failed_before_the_recipe_was_over(condition):
    keys = {"db": {"ready": Ready(kind="tcp", what="1"), "allow_failure": True}}
    spec = {"db": (), "a": ("db:ready",), "out": (f"db:{condition}",)}
    run = Run(whole_plan(spec, ["db", "a"], timeout=60.0, daemons=("db",), keys=keys)).started("db")
    run.is_ready("db")
    run.started("a").exited("db", succeeded=False)
    run.exited("a")
    assert [run.outcome(name) for name in spec] == ["failed", "succeeded", "skipped"]


def test_a_daemon_gets_as_many_attempts_to_be_ready_in_each_round():
    keys = {"db": {"ready": Ready(kind="tcp", what="1", timeout=1.0), "restart": "on-failure"}}
    spec = {"db": (), "a": ("db:ready",)}
    run = Run(whole_plan(spec, ["db", "a"], retries=1, daemons=("db",), keys=keys))
    now, attempts = 0.0, []
    for _ in range(6):
        run.started("db", now=now)
        run.advance(now + 1.0)
        attempts.append(run.exited("db", succeeded=False, code=-15, now=now + 1.0)[0].split(" in ")[0])
        now = max(now + 1.0, run.scheduler.deadline or 0.0)
        run.advance(now)
    first, second = attempts[:3], attempts[3:]
    assert first == ["restart db 2", "restart db 3", "(failed db)"]
    assert second == ["restart db 5", "restart db 6", "(failed db)"]


@pytest.mark.parametrize("moment", ["running", "waiting", "between its attempts", "ended too late"])
def test_the_timeout_of_a_recipe_is_a_failure_whatever_it_cuts_off(moment):
    keys = {"a": {"allow_failure": True, "retry": Retry(retries=1, delay=60.0)}}
    spec = {"db": (), "a": ("db:ready" if moment == "waiting" else "db:started",), "b": (), "out": ("a",)}
    run = Run(whole_plan(spec, ["db", "a", "b"], timeout=10.0, daemons=("db",), keys=keys))
    run.started("db", "b").exited("b")
    if moment != "waiting":
        run.started("a")
    if moment == "between its attempts":
        run.exited("a", succeeded=False)
    run.advance(10.0)
    if moment in ("running", "ended too late"):
        run.exited("a", succeeded=False, asked=moment == "running", code=-15, now=10.1)
    run.exited("db", succeeded=False, code=-15, now=10.2)
    assert run.outcome("a") == ("cancelled" if moment == "waiting" else "stopped")
    assert run.reasons["a"] == "recipe_timeout"
    assert run.outcome("out") == "skipped"
    assert verdict(run.scheduler.ends(())).exit_code == 1


class Counted(list):
    """A list that counts how often someone goes through it."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


def test_the_ends_of_a_round_that_has_failed_do_not_each_look_at_all_of_its_tasks():
    names = [f"t{number}" for number in range(20)]
    run = Run(whole_plan(dict.fromkeys(names, ()), names, retries=1, slots=20)).started(*names)
    run.exited("t0", succeeded=False)
    group = run.scheduler._rounds._groups[0]
    group.members = members = Counted(group.members)
    for name in names[1:-1]:
        run.exited(name, succeeded=False, code=-15)
    assert members.passes == 0
    assert len(run.exited("t19", succeeded=False, code=-15)) == 21

"""What the scheduler decides when an attempt is lost with its host."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run

from mprun.jobfile.model import Retry
from mprun.scheduling.losses import MAX_RERUNS
from mprun.scheduling.retry import STABLE_AFTER


def lose(run, name, now=1.0, why="host h was lost"):
    return run.apply(run.scheduler.handle_host_lost(run.number(name), why, now))


def not_begun(run, name, now=1.0):
    return run.apply(run.scheduler.handle_host_lost(run.number(name), "", now, began=False))


def job(policy="rerun", spec=None, **keys):
    return plan(spec or {"a": ()}, on_host_lost=policy, keys={"a": keys})


def test_without_a_policy_a_lost_attempt_is_the_last_one():
    run = Run(job("fail")).started("a")
    assert lose(run, "a") == ["unknown a", "join a 1/1"]
    assert run.reasons["a"] == "host h was lost"


@pytest.mark.parametrize("keys", [{}, {"retry": Retry(retries=3)}])
def test_an_attempt_of_which_something_is_left_is_the_last_one(keys):
    run = Run(job("rerun", **keys)).started("a")
    left = run.scheduler.handle_host_lost(run.number("a"), "left running: 5", 1.0, is_over=False)
    assert run.apply(left) == ["unknown a", "join a 1/1"]


def test_a_lost_attempt_is_replaced_at_once_without_being_counted_by_retry():
    run = Run(job(retry=Retry(retries=1))).started("a")
    assert lose(run, "a") == ["host_lost a 2 in 0"]
    assert run.advance(1.0) == ["start a"]
    run.started("a")
    # The first failure, so the only retry is left.
    assert run.exited("a", succeeded=False)[0] == "retry a 3 in 0"
    run.advance(1.0)
    run.started("a")
    assert run.exited("a", succeeded=False)[0] == "failed a"


def test_a_task_that_kills_its_hosts_does_not_run_without_end():
    run = Run(job())
    for attempt in range(1, MAX_RERUNS + 1):
        run.started("a")
        assert lose(run, "a") == [f"host_lost a {attempt + 1} in 0"]
        run.advance(1.0)
    run.started("a")
    assert lose(run, "a") == ["unknown a", "join a 1/1"]


def test_a_lost_attempt_is_a_failure_that_retry_may_repeat():
    run = Run(job("fail", retry=Retry(retries=1, delay=5.0))).started("a")
    assert lose(run, "a") == ["host_lost a 2 in 5"]
    run.advance(6.0)
    run.started("a", now=6.0)
    assert lose(run, "a", now=7.0)[0] == "unknown a"


@pytest.mark.parametrize("when", [{"exceptions": ("OSError",)}, {"exit_codes": (1, -9)}])
def test_a_retry_for_some_failures_alone_does_not_repeat_one_of_which_nothing_is_known(when):
    run = Run(job("fail", retry=Retry(retries=1, **when))).started("a")
    assert lose(run, "a")[0] == "unknown a"
    assert lose(Run(job("rerun", retry=Retry(retries=1, **when))).started("a"), "a") == ["host_lost a 2 in 0"]


def test_a_success_after_a_loss_is_not_flaky():
    for losses, failures, flaky in ((1, 0, set()), (2, 1, {0})):
        run = Run(job(retry=Retry(retries=2)))
        for _ in range(losses):
            run.started("a")
            lose(run, "a")
            run.advance(1.0)
        for _ in range(failures):
            run.started("a").exited("a", succeeded=False)
            run.advance(1.0)
        run.started("a").exited("a")
        assert run.scheduler.ends(()).flaky.keys() == flaky


def test_a_service_is_restarted_elsewhere_and_another_daemon_is_not():
    made = plan(
        {"s": (), "d": (), "a": ()}, daemons=("s", "d"), keys={"s": {"restart": "on-failure"}}, cpus=8
    )
    run = Run(made).started("s", "d", "a")
    assert lose(run, "s", now=STABLE_AFTER)[0].startswith("restart s 2 in ")
    assert lose(run, "d", now=STABLE_AFTER) == ["unknown d"]
    # Its next start was to repair that.
    assert run.exited("a", now=STABLE_AFTER)[0] == "succeeded a"
    assert "stopped s" in run.log


def test_a_task_that_a_user_has_stopped_does_not_run_again():
    run = Run(job()).started("a")
    run.stopped("a")
    assert lose(run, "a")[0] == "unknown a"


def test_nothing_runs_again_once_the_run_ends():
    run = Run(job(spec={"a": (), "b": ()})).started("a", "b")
    run.apply(run.scheduler.stop("user", 1.0))
    assert lose(run, "a")[0] == "unknown a"


def test_what_waited_on_the_lost_host_for_another_task_waits_for_it_again():
    run = Run(plan({"a": (), "b": ("a",)}, on_host_lost="rerun"), held=1).started("a")
    assert run.log == ["start a", "start b after a"]
    assert lose(run, "a") == ["host_lost a 2 in 0"]
    assert lose(run, "b") == []
    assert run.advance(1.0) == ["start a", "start b after a"]
    run.started("a").exited("a")
    run.started("b").exited("b")
    assert run.outcome("b") == "succeeded"


def test_what_waited_on_the_lost_host_may_have_begun():
    run = Run(plan({"a": (), "b": ("a",)}), held=1).started("a")
    assert lose(run, "a")[0] == "unknown a"
    assert lose(run, "b")[0] == "unknown b"


def test_what_waited_on_the_lost_host_is_unknown_if_it_does_not_start_again():
    run = Run(plan({"a": (), "b": ("a",)}, on_host_lost="rerun"), held=1).started("a")
    lose(run, "a")
    lose(run, "b")
    run.apply(run.scheduler.stop("user", 1.0))
    assert run.outcome("b") == "unknown"
    assert run.reasons["b"] == "its host was lost"


def test_what_is_known_not_to_have_begun_starts_elsewhere_as_the_same_attempt():
    run = Run(job("fail"))
    assert not_begun(run, "a") == ["start a"]
    run.started("a")
    run.exited("a")
    assert run.scheduler.ends(()).flaky == {}
    retried = Run(job("fail", retry=Retry(retries=1))).started("a")
    retried.exited("a", succeeded=False)
    retried.advance(1.0)
    assert not_begun(retried, "a") == ["start a"]


def test_what_has_not_begun_does_not_start_once_it_was_stopped():
    run = Run(job("fail"))
    run.stopped("a")
    assert not_begun(run, "a")[0] == "cancelled a"


def test_slots_that_come_are_used_at_once():
    run = Run(plan({"a": (), "b": (), "c": (), "d": ()}, slots=1)).started("a")
    assert run.log == ["start a", "start b"]
    assert run.apply(run.scheduler.handle_slots(1, 1.0)) == ["start c"]


def test_slots_that_go_are_those_of_attempts_that_run():
    run = Run(plan({"a": (), "b": (), "c": (), "d": ()}, slots=2)).started("a", "b")
    assert run.log == ["start a", "start b", "start c"]
    assert run.apply(run.scheduler.handle_slots(-1, 1.0)) == []
    # The slot of `a` is gone; `c` takes that of `b`, and `d` may wait for the next one.
    assert "start d" not in run.exited("a")
    assert "start d" in run.exited("b")


def test_without_slots_nothing_ends_the_run():
    run = Run(plan({"a": ()}, slots=1, on_host_lost="rerun")).started("a")
    run.apply(run.scheduler.handle_slots(-1, 1.0))
    lose(run, "a")
    run.advance(1.0)
    assert not run.scheduler.finished
    assert "start a" in run.log

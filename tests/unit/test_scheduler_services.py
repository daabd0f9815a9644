"""The scheduler in virtual time: what serves, is ready, is started again; and stops of one task."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run

from mprun.jobfile.model import Ready, Retry, Stop

READY = Ready(kind="tcp", what="80", timeout=30.0)


def serving(restart, **keys):
    """A run of a daemon `s` beside a task that goes on."""
    return Run(plan({"s": (), "a": ()}, daemons=("s",), keys={"s": {"restart": restart, **keys}}))


# ---- restarts


@pytest.mark.parametrize(
    ("restart", "succeeded", "said"),
    [
        ("never", True, "succeeded s"),
        ("never", False, "failed s"),
        ("on-failure", True, "succeeded s"),
        ("on-failure", False, "restart s 2 in 0.1"),
        ("always", True, "restart s 2 in 0.1"),
        ("always", False, "restart s 2 in 0.1"),
    ],
)
def test_what_serves_is_started_again_where_its_restart_says_so(restart, succeeded, said):
    run = serving(restart).started("s", "a")
    assert run.exited("s", succeeded=succeeded) == [said]


def test_each_restart_waits_longer_up_to_a_minute():
    run, now, delays = serving("always").started("a"), 0.0, []
    for _ in range(12):
        run.started("s", now=now)
        delays.append(float(run.exited("s", now=now)[0].split()[-1]))
        now += delays[-1]
        assert run.passed(now) == ["start s"]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


@pytest.mark.parametrize(("ran", "delay"), [(9.9, "0.4"), (10.0, "0.1"), (500.0, "0.1")])
def test_delays_begin_anew_after_an_attempt_that_served(ran, delay):
    run = serving("always").started("s", "a")
    for now in (0.0, 1.0):
        run.exited("s", now=now)
        run.passed(now + 0.5)
        run.started("s", now=now + 0.5)
    assert run.exited("s", now=1.5 + ran)[0].endswith(f" in {delay}")


def test_an_attempt_that_could_not_be_started_has_not_served():
    run = serving("always").started("s", "a")
    run.exited("s", now=100.0)
    run.passed(101.0)
    assert run.exited("s", succeeded=False, now=102.0) == ["restart s 3 in 0.2"]


def test_the_delays_of_a_restart_are_those_of_the_retry_and_its_number_sets_no_limit():
    run = serving("on-failure", retry=Retry(retries=1, delay=2.0, backoff=3.0)).started("a")
    for attempt, delay in ((2, 2), (3, 6), (4, 18)):
        run.started("s")
        assert run.exited("s", succeeded=False) == [f"restart s {attempt} in {delay}"]
        run.passed(100.0 * attempt)


def test_a_retry_without_a_delay_leaves_that_of_a_restart():
    run = serving("always", retry=Retry(retries=3)).started("s", "a")
    assert run.exited("s", succeeded=False) == ["restart s 2 in 0.1"]


def test_what_timed_out_is_started_again():
    run = serving("on-failure", timeout=2.0).started("s", "a")
    assert run.passed(2.0) == ["SIGTERM s timeout dump"]
    assert run.exited("s", now=2.1) == ["restart s 2 in 0.1"]


@pytest.mark.parametrize(("succeeded", "outcome"), [(True, "succeeded"), (False, "failed")])
def test_what_waits_for_its_restart_when_the_run_ends_keeps_how_it_ended(succeeded, outcome):
    run = serving("always").started("s", "a")
    run.exited("s", succeeded=succeeded)
    run.exited("a", now=1.05)
    assert run.outcome("s") == outcome
    assert run.scheduler.finished


@pytest.mark.parametrize(("ran", "outcome"), [(9.9, "failed"), (10.0, "stopped")])
def test_what_was_up_for_long_and_waits_for_its_restart_when_the_run_ends_has_not_failed(ran, outcome):
    run = serving("on-failure").started("s", "a")
    run.exited("s", succeeded=False, now=ran)
    run.exited("a", now=ran + 0.05)
    assert run.outcome("s") == outcome
    assert run.reasons.get("s") == ("exit" if outcome == "failed" else "exit, before its next start")
    assert run.scheduler.finished


@pytest.mark.parametrize(("ready", "outcome"), [(True, "stopped"), (False, "failed")])
def test_what_was_ready_and_waits_for_its_restart_when_the_run_ends_has_not_failed(ready, outcome):
    run = starting(restart="always")
    if ready:
        run.is_ready("s")
        run.started("c")
        run.exited("c")
    run.exited("s", succeeded=False, now=20.0)
    # Another attempt would have to be ready itself.
    run.take(run.scheduler.stop("user", 20.05))
    assert run.outcome("s") == outcome


def test_what_was_ready_once_and_never_came_up_again_has_failed():
    run = starting(restart="always")
    run.is_ready("s")
    run.exited("s", succeeded=False, now=1.0)
    run.passed(2.0)
    run.started("s", now=2.0)
    run.exited("s", succeeded=False, now=2.1)
    run.take(run.scheduler.stop("user", 2.2))
    assert run.outcome("s") == "failed"


def test_nothing_is_started_again_once_the_run_ends():
    run = serving("always").started("s", "a")
    assert run.exited("a") == ["succeeded a", "join a 1/1", "SIGTERM s run_finished"]
    assert run.exited("s") == ["stopped s"]
    assert run.scheduler.finished


def test_a_failure_that_is_followed_by_a_restart_stops_no_run():
    run = Run(plan({"s": (), "a": ()}, daemons=("s",), fail_fast=True, keys={"s": {"restart": "always"}}))
    run.started("s", "a")
    assert run.exited("s", succeeded=False) == ["restart s 2 in 0.1"]


def test_a_lost_attempt_is_not_started_again():
    run = serving("always").started("s", "a")
    assert run.take(run.scheduler.handle_exit_unknown(0, "nobody saw its end", 1.0)) == ["unknown s"]


# ---- readiness


def starting(*, ready=READY, **keys):
    """A run of a daemon `s` that takes its time, with a client that waits for it."""
    keys = {"s": {"ready": ready, **keys}}
    return Run(plan({"s": (), "c": ("s:ready",), "a": ()}, daemons=("s",), keys=keys)).started("s", "a")


def test_ready_holds_when_the_probe_says_so():
    run = starting()
    assert run.log == ["start s", "start a"]
    assert run.is_ready("s") == ["ready s 1", "start c"]


def test_readiness_is_marked_once():
    run = starting()
    run.is_ready("s")
    assert run.is_ready("s") == []


def test_readiness_of_an_attempt_that_is_over_counts_for_nothing():
    run = starting(restart="always")
    run.exited("s", now=1.0)
    assert run.is_ready("s", 1) == []
    run.passed(2.0)
    run.started("s", now=2.0)
    assert run.is_ready("s", 1) == []
    assert run.is_ready("s", 2) == ["ready s 2", "start c"]


def test_readiness_of_an_attempt_that_was_asked_to_end_comes_too_late():
    run = starting()
    run.stopped("s")
    assert run.is_ready("s") == []


def test_ready_stays_true_through_a_restart():
    spec = {"s": (), "c": ("s:ready", "a"), "a": ()}
    run = Run(plan(spec, daemons=("s",), keys={"s": {"ready": READY, "restart": "always"}})).started("s", "a")
    run.is_ready("s")
    run.exited("s", now=1.0)
    run.passed(2.0)
    run.started("s", now=2.0)
    assert run.is_ready("s", 2) == ["ready s 2"]
    assert run.exited("a", now=3.0)[-1] == "start c"


def test_what_is_not_ready_in_time_is_stopped_and_has_failed():
    run = starting(stop=Stop(grace=1.0))
    assert run.scheduler.deadline == 30.0
    assert run.passed(30.0) == ["SIGTERM s not_ready dump"]
    assert run.passed(31.0) == ["SIGKILL s not_ready"]
    assert run.exited("s", now=31.1) == ["failed s", "skipped c"]
    assert run.reasons == {"s": "not ready", "c": "`s` was never ready"}


def test_what_is_ready_in_time_is_left_alone():
    run = starting()
    run.is_ready("s", now=29.9)
    assert run.passed(30.0) == []


def test_what_ended_before_its_readiness_was_missed_is_judged_by_its_end():
    run = starting()
    run.passed(30.0)
    assert run.exited("s", now=29.9)[0] == "succeeded s"


def test_what_was_not_ready_is_tried_again_like_any_failure():
    run = starting(retry=Retry(retries=1))
    run.passed(30.0)
    assert run.exited("s", now=30.1) == ["again s 2 in 0"]
    run.passed(30.1)
    run.started("s", now=31.0)
    assert run.passed(60.9) == []
    assert run.passed(61.0) == ["SIGTERM s not_ready dump"]


def test_what_was_not_ready_is_started_again():
    run = starting(restart="on-failure")
    run.passed(30.0)
    assert run.exited("s", now=30.1) == ["restart s 2 in 0.1"]


def test_what_waits_for_the_readiness_of_a_task_that_ended_without_is_skipped():
    run = starting()
    assert run.exited("s") == ["succeeded s", "skipped c"]


def test_what_was_ready_once_was_ready_though_it_failed():
    spec = {"s": (), "c": ("s:ready", "a"), "a": ()}
    run = Run(plan(spec, daemons=("s",), keys={"s": {"ready": READY}})).started("s", "a")
    run.is_ready("s")
    assert run.exited("s", succeeded=False) == ["failed s"]
    assert run.exited("a")[-1] == "start c"


# ---- stopping one task


def test_a_user_stops_a_task_and_nothing_else():
    spec = {"a": (), "b": ("a",), "c": ("a:finished",), "d": ()}
    run = Run(plan(spec, keys={"a": {"retry": Retry(retries=5)}})).started("a", "d")
    assert run.stopped("a") == ["SIGTERM a user"]
    assert run.passed(1.0 + Stop().grace) == ["SIGKILL a user"]
    assert run.exited("a", succeeded=False, now=7.0) == ["stopped a", "skipped b", "join a 1/4", "start c"]
    assert run.scheduler.end_reason is None


@pytest.mark.parametrize("restart", ["on-failure", "always"])
def test_what_a_user_stopped_is_not_started_again(restart):
    run = serving(restart).started("s", "a")
    run.stopped("s")
    assert run.exited("s", succeeded=False) == ["stopped s"]


def test_a_user_stops_a_task_that_is_being_stopped_for_its_timeout():
    run = serving("always", timeout=2.0).started("s", "a")
    run.passed(2.0)
    assert run.stopped("s", now=2.1) == []
    assert run.exited("s", now=2.2) == ["timed_out s"]


def test_a_user_stops_a_task_between_its_attempts():
    run = serving("always").started("s", "a")
    run.exited("s", succeeded=False)
    assert run.stopped("s") == ["failed s"]
    assert run.passed(100.0) == []


def test_a_user_stops_a_task_before_it_has_a_process():
    run = Run(plan({"a": (), "b": ("a",), "c": ()})).started("c")
    assert run.stopped("a") == ["withdraw a"]
    assert run.take(run.scheduler.handle_start_cancelled(0, 1.0))[:2] == ["cancelled a", "skipped b"]
    run.exited("c")
    assert run.scheduler.finished


def test_a_user_stops_a_task_that_waits_for_another():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",)})).started("a")
    assert run.stopped("b") == ["cancelled b", "skipped c"]
    run.exited("a")
    assert run.scheduler.finished


def test_what_has_ended_cannot_be_stopped():
    run = Run(plan({"a": (), "b": ()})).started("a", "b")
    run.exited("a")
    assert run.stopped("a") == []


def test_what_passed_its_log_limit_has_failed_and_may_be_tried_again():
    run = Run(plan({"a": ()}, keys={"a": {"retry": Retry(retries=1)}})).started("a")
    assert run.stopped("a", "log_limit") == ["SIGTERM a log_limit"]
    assert run.exited("a") == ["again a 2 in 0"]
    run.passed(1.0)
    run.started("a", now=1.0)
    run.stopped("a", "log_limit", now=2.0)
    assert run.exited("a", now=2.1)[0] == "failed a"
    assert run.reasons["a"] == "log limit"


def test_a_guard_stops_no_attempt_that_does_not_run():
    run = Run(plan({"a": ()}))
    assert run.stopped("a", "log_limit") == []
    run.started("a")
    assert run.last == []


def test_what_never_was_ready_in_its_time_is_not_started_again():
    keys = {"d": {"restart": "on-failure", "ready": Ready(kind="tcp", what="1", timeout=3.0)}}
    run = Run(plan({"d": (), "a": ("d:ready",)}, daemons=("d",), keys=keys)).started("d", now=10.0)
    for now in (15.0, 16.0):
        assert run.exited("d", succeeded=False, now=now)[0].startswith("restart d")
        run.passed(now + 0.5)
        run.started("d", now=now + 0.5)
    assert run.exited("d", succeeded=False, now=17.0)[:2] == ["failed d", "skipped a"]
    assert run.reasons["d"] == "not ready, exit"


def test_a_daemon_that_was_ready_once_is_restarted_forever():
    keys = {"d": {"restart": "on-failure", "ready": Ready(kind="tcp", what="1", timeout=3.0)}}
    run = Run(plan({"d": (), "a": ()}, daemons=("d",), keys=keys)).started("d", "a", now=10.0)
    run.take(run.scheduler.handle_ready(0, 1, 11.0))
    for now in (99.0, 199.0, 299.0, 399.0):
        assert run.exited("d", succeeded=False, now=now)[0].startswith("restart d")
        run.passed(now + 0.2)
        run.started("d", now=now + 0.2)

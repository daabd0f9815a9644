"""The scheduler in virtual time: readiness, restarts of daemons, and stops of one task."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run

from mprun.jobfile.model import Ready, Retry, Stop

READY = Ready(kind="tcp", what="80", timeout=30.0)


def run_with_daemon(restart, **keys):
    """A run with a daemon `s` beside a running task."""
    return Run(plan({"s": (), "a": ()}, daemons=("s",), keys={"s": {"restart": restart, **keys}}))


# ---- restarts


@pytest.mark.parametrize(
    ("restart", "succeeded", "expected"),
    [
        ("never", True, "succeeded s"),
        ("never", False, "failed s"),
        ("on-failure", True, "succeeded s"),
        ("on-failure", False, "restart s 2 in 0.1"),
        ("always", True, "restart s 2 in 0.1"),
        ("always", False, "restart s 2 in 0.1"),
    ],
)
def test_restart_decides_whether_a_daemon_is_restarted(restart, succeeded, expected):
    run = run_with_daemon(restart).started("s", "a")
    assert run.exited("s", succeeded=succeeded) == [expected]


def test_restart_delays_grow_up_to_a_minute():
    run, now, delays = run_with_daemon("always").started("a"), 0.0, []
    for _ in range(12):
        run.started("s", now=now)
        delays.append(float(run.exited("s", now=now)[0].split()[-1]))
        now += delays[-1]
        assert run.advance(now) == ["start s"]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]


@pytest.mark.parametrize(("ran", "delay"), [(9.9, "0.4"), (10.0, "0.1"), (500.0, "0.1")])
def test_delays_start_anew_after_a_stable_attempt(ran, delay):
    run = run_with_daemon("always").started("s", "a")
    for now in (0.0, 1.0):
        run.exited("s", now=now)
        run.advance(now + 0.5)
        run.started("s", now=now + 0.5)
    assert run.exited("s", now=1.5 + ran)[0].endswith(f" in {delay}")


def test_an_attempt_that_could_not_be_started_is_not_stable():
    run = run_with_daemon("always").started("s", "a")
    run.exited("s", now=100.0)
    run.advance(101.0)
    assert run.exited("s", succeeded=False, now=102.0) == ["restart s 3 in 0.2"]


def test_a_restart_has_the_delays_of_retry_but_no_limit_of_attempts():
    run = run_with_daemon("on-failure", retry=Retry(retries=1, delay=2.0, backoff=3.0)).started("a")
    for attempt, delay in ((2, 2), (3, 6), (4, 18)):
        run.started("s")
        assert run.exited("s", succeeded=False) == [f"restart s {attempt} in {delay}"]
        run.advance(100.0 * attempt)


def test_a_retry_without_a_delay_keeps_the_default_restart_delay():
    run = run_with_daemon("always", retry=Retry(retries=3)).started("s", "a")
    assert run.exited("s", succeeded=False) == ["restart s 2 in 0.1"]


def test_a_daemon_that_timed_out_is_restarted():
    run = run_with_daemon("on-failure", timeout=2.0).started("s", "a")
    assert run.advance(2.0) == ["SIGTERM s timeout dump"]
    assert run.exited("s", now=2.1) == ["restart s 2 in 0.1"]


@pytest.mark.parametrize(("succeeded", "outcome"), [(True, "succeeded"), (False, "failed")])
def test_a_daemon_that_waits_for_its_restart_when_the_run_ends_keeps_its_last_outcome(succeeded, outcome):
    run = run_with_daemon("always").started("s", "a")
    run.exited("s", succeeded=succeeded)
    run.exited("a", now=1.05)
    assert run.outcome("s") == outcome
    assert run.scheduler.finished


@pytest.mark.parametrize(("ran", "outcome"), [(9.9, "failed"), (10.0, "stopped")])
def test_a_stable_daemon_that_waits_for_its_restart_when_the_run_ends_has_not_failed(ran, outcome):
    run = run_with_daemon("on-failure").started("s", "a")
    run.exited("s", succeeded=False, now=ran)
    run.exited("a", now=ran + 0.05)
    assert run.outcome("s") == outcome
    assert run.reasons.get("s") == ("exit" if outcome == "failed" else "exit, before its next start")
    assert run.scheduler.finished


@pytest.mark.parametrize(("ready", "outcome"), [(True, "stopped"), (False, "failed")])
def test_a_ready_daemon_that_waits_for_its_restart_when_the_run_ends_has_not_failed(ready, outcome):
    run = run_with_unready_daemon(restart="always")
    if ready:
        run.is_ready("s")
        run.started("c")
        run.exited("c")
    run.exited("s", succeeded=False, now=20.0)
    # A further attempt would have to be ready itself.
    run.apply(run.scheduler.stop("user", 20.05))
    assert run.outcome("s") == outcome


def test_a_daemon_that_was_ready_once_and_never_again_has_failed():
    run = run_with_unready_daemon(restart="always")
    run.is_ready("s")
    run.exited("s", succeeded=False, now=1.0)
    run.advance(2.0)
    run.started("s", now=2.0)
    run.exited("s", succeeded=False, now=2.1)
    run.apply(run.scheduler.stop("user", 2.2))
    assert run.outcome("s") == "failed"


def test_no_daemon_is_restarted_once_the_run_ends():
    run = run_with_daemon("always").started("s", "a")
    assert run.exited("a") == ["succeeded a", "join a 1/1", "SIGTERM s run_finished"]
    assert run.exited("s") == ["stopped s"]
    assert run.scheduler.finished


def test_a_failure_with_a_restart_does_not_trigger_fail_fast():
    run = Run(plan({"s": (), "a": ()}, daemons=("s",), fail_fast=True, keys={"s": {"restart": "always"}}))
    run.started("s", "a")
    assert run.exited("s", succeeded=False) == ["restart s 2 in 0.1"]


def test_an_attempt_with_an_unknown_exit_status_is_not_restarted():
    run = run_with_daemon("always").started("s", "a")
    assert run.apply(run.scheduler.handle_exit_unknown(0, "exit status unknown", 1.0)) == ["unknown s"]


# ---- readiness


def run_with_unready_daemon(*, ready=READY, **keys):
    """A run with a daemon `s` that is not ready yet, and a client that depends on its readiness."""
    keys = {"s": {"ready": ready, **keys}}
    return Run(plan({"s": (), "c": ("s:ready",), "a": ()}, daemons=("s",), keys=keys)).started("s", "a")


def test_ready_is_met_when_the_probe_succeeds():
    run = run_with_unready_daemon()
    assert run.log == ["start s", "start a"]
    assert run.is_ready("s") == ["ready s 1", "start c"]


def test_readiness_is_marked_once():
    run = run_with_unready_daemon()
    run.is_ready("s")
    assert run.is_ready("s") == []


def test_readiness_of_an_attempt_that_is_over_has_no_effect():
    run = run_with_unready_daemon(restart="always")
    run.exited("s", now=1.0)
    assert run.is_ready("s", 1) == []
    run.advance(2.0)
    run.started("s", now=2.0)
    assert run.is_ready("s", 1) == []
    assert run.is_ready("s", 2) == ["ready s 2", "start c"]


def test_readiness_of_an_attempt_that_was_asked_to_end_comes_too_late():
    run = run_with_unready_daemon()
    run.stopped("s")
    assert run.is_ready("s") == []


def test_ready_stays_met_after_a_restart():
    spec = {"s": (), "c": ("s:ready", "a"), "a": ()}
    run = Run(plan(spec, daemons=("s",), keys={"s": {"ready": READY, "restart": "always"}})).started("s", "a")
    run.is_ready("s")
    run.exited("s", now=1.0)
    run.advance(2.0)
    run.started("s", now=2.0)
    assert run.is_ready("s", 2) == ["ready s 2"]
    assert run.exited("a", now=3.0)[-1] == "start c"


def test_a_task_that_is_not_ready_in_time_is_stopped_and_has_failed():
    run = run_with_unready_daemon(stop=Stop(grace=1.0))
    assert run.scheduler.deadline == 30.0
    assert run.advance(30.0) == ["SIGTERM s not_ready dump"]
    assert run.advance(31.0) == ["SIGKILL s not_ready"]
    assert run.exited("s", now=31.1) == ["failed s", "skipped c"]
    assert run.reasons == {"s": "not ready", "c": "`s` was never ready"}


def test_a_task_that_is_ready_in_time_runs_on():
    run = run_with_unready_daemon()
    run.is_ready("s", now=29.9)
    assert run.advance(30.0) == []


def test_a_task_that_ended_before_its_readiness_timeout_has_its_exit_as_the_reason_C02():
    run = run_with_unready_daemon()
    run.advance(30.0)
    assert run.exited("s", now=29.9)[0] == "failed s"
    assert run.reasons["s"] == "not ready, exit"


def test_a_task_that_was_not_ready_in_time_is_retried_like_any_failure():
    run = run_with_unready_daemon(retry=Retry(retries=1))
    run.advance(30.0)
    assert run.exited("s", now=30.1) == ["retry s 2 in 0"]
    run.advance(30.1)
    run.started("s", now=31.0)
    assert run.advance(60.9) == []
    assert run.advance(61.0) == ["SIGTERM s not_ready dump"]


def test_a_daemon_that_was_not_ready_in_time_is_restarted():
    run = run_with_unready_daemon(restart="on-failure")
    run.advance(30.0)
    assert run.exited("s", now=30.1) == ["restart s 2 in 0.1"]


def test_a_dependent_on_readiness_is_skipped_if_the_task_ends_without_being_ready():
    run = run_with_unready_daemon()
    assert run.exited("s", unready="no line matches `x`") == ["failed s", "skipped c"]
    assert run.reasons == {"s": "not ready, exit: no line matches `x`", "c": "`s` was never ready"}


def test_ready_stays_met_after_a_failure():
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
    assert run.advance(1.0 + Stop().grace) == ["SIGKILL a user"]
    assert run.exited("a", succeeded=False, now=7.0) == ["stopped a", "skipped b", "join a 1/4", "start c"]
    assert run.scheduler.end_reason is None


@pytest.mark.parametrize("restart", ["on-failure", "always"])
def test_a_daemon_that_a_user_stopped_is_not_restarted(restart):
    run = run_with_daemon(restart).started("s", "a")
    run.stopped("s")
    assert run.exited("s", succeeded=False) == ["stopped s"]


def test_a_user_stops_a_task_that_is_being_stopped_for_its_timeout():
    run = run_with_daemon("always", timeout=2.0).started("s", "a")
    run.advance(2.0)
    assert run.stopped("s", now=2.1) == []
    assert run.exited("s", now=2.2) == ["timed_out s"]


def test_a_user_stops_a_task_between_its_attempts():
    run = run_with_daemon("always").started("s", "a")
    run.exited("s", succeeded=False)
    assert run.stopped("s") == ["failed s"]
    assert run.advance(100.0) == []


def test_a_user_stops_a_task_before_it_has_a_process():
    run = Run(plan({"a": (), "b": ("a",), "c": ()})).started("c")
    assert run.stopped("a") == ["cancel start a"]
    assert run.apply(run.scheduler.handle_start_cancelled(0, 1.0))[:2] == ["cancelled a", "skipped b"]
    run.exited("c")
    assert run.scheduler.finished


def test_a_user_stops_a_task_that_waits_for_another():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",)})).started("a")
    assert run.stopped("b") == ["cancelled b", "skipped c"]
    run.exited("a")
    assert run.scheduler.finished


def test_a_finished_task_cannot_be_stopped():
    run = Run(plan({"a": (), "b": ()})).started("a", "b")
    run.exited("a")
    assert run.stopped("a") == []


def test_a_task_that_exceeds_its_log_limit_fails_and_may_be_retried():
    run = Run(plan({"a": ()}, keys={"a": {"retry": Retry(retries=1)}})).started("a")
    assert run.log_limit_exceeded("a") == ["SIGTERM a log_limit"]
    assert run.exited("a") == ["retry a 2 in 0"]
    run.advance(1.0)
    run.started("a", now=1.0)
    run.log_limit_exceeded("a", now=2.0)
    assert run.exited("a", now=2.1)[0] == "failed a"
    assert run.reasons["a"] == "log limit"


def test_the_log_limit_stops_only_a_running_attempt():
    run = Run(plan({"a": ()}))
    assert run.log_limit_exceeded("a") == []
    run.started("a")
    assert run.last == []


def test_a_daemon_that_was_never_ready_in_time_is_not_restarted():
    keys = {"d": {"restart": "on-failure", "ready": Ready(kind="tcp", what="1", timeout=3.0)}}
    run = Run(plan({"d": (), "a": ("d:ready",)}, daemons=("d",), keys=keys)).started("d", now=10.0)
    for now in (15.0, 16.0):
        assert run.exited("d", succeeded=False, now=now)[0].startswith("restart d")
        run.advance(now + 0.5)
        run.started("d", now=now + 0.5)
    assert run.exited("d", succeeded=False, now=17.0)[:2] == ["failed d", "skipped a"]
    assert run.reasons["d"] == "not ready, exit"


def test_a_daemon_that_was_ready_once_is_restarted_forever():
    keys = {"d": {"restart": "on-failure", "ready": Ready(kind="tcp", what="1", timeout=3.0)}}
    run = Run(plan({"d": (), "a": ()}, daemons=("d",), keys=keys)).started("d", "a", now=10.0)
    run.apply(run.scheduler.handle_ready(0, 1, 11.0))
    for now in (99.0, 199.0, 299.0, 399.0):
        assert run.exited("d", succeeded=False, now=now)[0].startswith("restart d")
        run.advance(now + 0.2)
        run.started("d", now=now + 0.2)

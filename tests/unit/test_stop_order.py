"""The order in which tasks are asked to end: each one after the tasks that depend on it (C16)."""

from __future__ import annotations

import pytest
from support.plans import plan
from support.scheduling import Run

from mprun.jobfile.model import Ready, Retry, Stop
from mprun.scheduling.stop_limit import StopLimit, stop_limit_by_name
from mprun.scheduling.stop_order import StopOrder

# A client, a web server with its worker, and their database: services that depend on each other.
SERVICES = {"db": (), "web": ("db:started",), "worker": ("db:started",), "client": ("web:started",)}


def running(spec, daemons=(), **more):
    """A run in which every task of the plan is running."""
    run = Run(plan(spec, daemons=tuple(daemons), **more))
    return run.started(*spec)


def stop(run, now=1.0, **how):
    return run.apply(run.scheduler.stop("user", now, **how))


# ---- the order


@pytest.mark.parametrize("reason", ["user", "fail_fast", "run_timeout", "record_write_failed"])
def test_a_task_is_asked_once_everything_that_depends_on_it_has_ended(reason):
    run = running(SERVICES)
    dump = " dump" if reason == "run_timeout" else ""
    assert run.apply(run.scheduler.stop(reason, 1.0)) == [
        f"SIGTERM client {reason}{dump}",
        f"SIGTERM worker {reason}{dump}",
    ]
    assert run.exited("client", now=1.1)[-1] == f"SIGTERM web {reason}{dump}"
    assert not any("db" in line for line in run.exited("web", now=1.2))
    assert run.exited("worker", now=1.3)[-1] == f"SIGTERM db {reason}{dump}"


def test_daemons_are_stopped_in_order_at_the_end_of_the_run():
    run = running({**SERVICES, "job": ()}, daemons=SERVICES)
    assert run.exited("job") == [
        "succeeded job",
        "join job 1/1",
        "SIGTERM client run_finished",
        "SIGTERM worker run_finished",
    ]
    run.exited("worker")
    assert run.exited("client")[-1] == "SIGTERM web run_finished"
    assert run.exited("web")[-1] == "SIGTERM db run_finished"
    run.exited("db")
    assert run.scheduler.finished


def test_tasks_that_do_not_depend_on_each_other_are_asked_together_last_started_first():
    run = Run(plan({"a": (), "b": (), "c": ()})).started("b", "c", "a")
    assert stop(run) == ["SIGTERM c user", "SIGTERM b user", "SIGTERM a user"]


def test_tasks_that_waited_for_the_same_end_are_asked_last_started_first():
    run = running({"a": (), "b": (), "c": (), "user": ("a:started", "b:started", "c:started")})
    assert stop(run) == ["SIGTERM user user"]
    assert run.exited("user")[1:] == ["SIGTERM c user", "SIGTERM b user", "SIGTERM a user"]


def test_the_next_task_is_asked_at_the_kill_not_after_the_end():
    run = running({"db": (), "web": ("db:started",)}, keys={"web": {"stop": Stop(grace=2.0)}})
    stop(run)
    assert run.advance(2.9) == []
    assert run.advance(3.0) == ["SIGKILL web user", "SIGTERM db user"]


def test_a_stop_signal_that_kills_counts_as_a_kill():
    keys = {name: {"stop": Stop(signal="SIGKILL")} for name in ("web", "client")}
    run = running({"db": (), "web": ("db:started",), "client": ("web:started",)}, keys=keys)
    assert stop(run) == ["SIGKILL client user", "SIGKILL web user", "SIGTERM db user"]


def test_without_a_grace_the_order_is_kept_and_takes_no_time():
    keys = {name: {"stop": Stop(grace=0.0)} for name in SERVICES}
    run = running(SERVICES, keys=keys)
    stop(run)
    lines = run.advance(1.0)
    while run.scheduler.deadline == 1.0:
        lines += run.advance(1.0)
    assert [line for line in lines if line.startswith("SIGTERM")] == ["SIGTERM web user", "SIGTERM db user"]


def test_a_dependent_that_ended_before_passes_the_wait_on():
    """`client` depends on `db` through `web`, which has ended."""
    run = running({"db": (), "web": ("db:started",), "client": ("web:started",)}, daemons=["web"])
    run.exited("web")
    assert stop(run) == ["SIGTERM client user"]
    assert run.exited("client")[1:] == ["SIGTERM db user"]


def test_a_dependent_that_ends_by_itself_does_not_free_what_others_need():
    run = running({"db": (), "web": ("db:started",), "client": ("web:started",)})
    assert stop(run) == ["SIGTERM client user"]
    assert run.exited("web", succeeded=False) == ["failed web"]
    assert run.exited("client")[1:] == ["SIGTERM db user"]


def test_a_task_that_ends_before_it_is_asked_was_not_stopped():
    run = running({"db": (), "web": ("db:started",)})
    stop(run)
    assert run.exited("db", asked=False)[0] == "succeeded db"
    run.exited("web")
    assert run.outcome("web") == "stopped"


def test_the_instances_of_a_list_are_dependents_and_dependencies():
    run = Run(plan({"db": (), "each": ("db:started",), "web": ("each:started",)}, late={"each"})).started(
        "db"
    )
    run.expanded("each", 2)
    run.resolved("each[0]", "each[1]").started("each[0]", "each[1]", "web")
    assert stop(run) == ["SIGTERM web user"]
    assert run.exited("web")[1:] == ["SIGTERM each[1] user", "SIGTERM each[0] user"]
    assert run.exited("each[1]") == ["stopped each[1]"]
    assert run.exited("each[0]")[1:] == ["SIGTERM db user"]


# ---- attempts without a process


def test_a_start_is_cancelled_at_once_and_waited_for():
    run = Run(plan({"db": (), "web": ("db:started",)})).started("db")
    assert stop(run) == ["cancel start web"]
    assert run.start_cancelled("web") == ["cancelled web", "SIGTERM db user"]


def test_a_start_that_is_cancelled_too_late_is_asked_before_what_it_needs():
    run = Run(plan({"db": (), "web": ("db:started",)})).started("db")
    stop(run)
    assert run.started("web", now=1.1).last == ["SIGTERM web user"]
    assert run.exited("web", now=1.2)[1:] == ["SIGTERM db user"]


def test_a_service_that_starts_too_late_waits_for_its_dependents():
    """`db` is restarting when the run is stopped, and its start cannot be cancelled any more."""
    spec = {"db": (), "web": ("db:started",)}
    run = Run(plan(spec, daemons=("db",), keys={"db": {"restart": "always"}})).started("db", "web")
    run.exited("db", now=0.1)
    run.advance(1.0)
    assert stop(run) == ["cancel start db", "SIGTERM web user"]
    assert run.started("db", now=1.1).last == []
    assert run.exited("web", now=1.2)[1] == "SIGTERM db user"


def run_with_a_late_service():
    """`db` was restarting when the run was stopped, has started all the same, and waits for `web`."""
    spec = {"db": (), "web": ("db:started",)}
    run = Run(plan(spec, daemons=("db",), keys={"db": {"restart": "always"}})).started("db", "web")
    run.exited("db", now=0.1)
    run.advance(1.0)
    stop(run)
    return run.started("db", now=1.1)


@pytest.mark.parametrize("again", ["user", "record_write_failed"])
def test_a_service_that_started_too_late_waits_after_a_second_stop_too(again):
    run = run_with_a_late_service()
    assert run.apply(run.scheduler.stop(again, 1.2)) == []
    assert "SIGTERM db user" in run.exited("web", now=1.3)


def test_a_service_that_started_too_late_is_asked_at_its_log_limit():
    run = run_with_a_late_service()
    assert run.log_limit_exceeded("db", now=1.2) == ["SIGTERM db log_limit"]
    assert run.exited("web", now=1.3) == ["stopped web", "join web 1/1"]
    assert run.exited("db", now=1.4)[0] == "stopped db"


def test_a_task_between_two_attempts_is_not_waited_for():
    run = running({"db": (), "web": ("db:started",)}, keys={"web": {"retry": Retry(retries=3, delay=60.0)}})
    run.exited("web", succeeded=False, now=0.5)
    assert stop(run) == ["failed web", "SIGTERM db user"]


def test_a_daemon_that_ends_during_the_stop_is_not_restarted():
    run = running({"db": (), "web": ("db:started",)}, daemons=["db"], keys={"db": {"restart": "always"}})
    stop(run)
    assert run.exited("db", succeeded=False) == ["failed db"]


# ---- cutting through


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_kill_cuts_through_at_any_point(steps):
    run = running(SERVICES)
    stop(run)
    for name in ("client", "web")[:steps]:
        run.exited(name, now=1.1)
    left = [name for name in ("client", "worker", "web", "db") if name not in ("client", "web")[:steps]]
    killed = stop(run, 1.2, kill=True)
    assert killed == [f"SIGKILL {name} user" for name in left]
    for name in left:
        assert [line for line in run.exited(name, now=1.3) if line.startswith("SIG")] == []
    assert run.scheduler.finished


def test_a_second_reason_to_end_changes_nothing():
    run = running(SERVICES)
    stop(run)
    assert stop(run, 1.1) == run.apply(run.scheduler.stop("record_write_failed", 1.2)) == []
    run.exited("worker", now=1.3)
    assert run.exited("client", now=1.3)[-1] == "SIGTERM web user"


def test_a_timeout_does_not_wait_for_others():
    run = running({"db": (), "web": ("db:started",)}, keys={"db": {"timeout": 3.0}})
    stop(run)
    assert run.advance(3.0) == ["SIGTERM db timeout dump"]
    assert run.exited("web", now=3.1) == ["stopped web"]
    assert run.exited("db", now=3.2)[0] == "timed_out db"


def test_an_attempt_that_was_asked_before_is_waited_for():
    """Its timeout has stopped `web`; `db` is asked when that has ended, or used up its grace."""
    keys = {"web": {"timeout": 2.0, "stop": Stop(grace=4.0)}}
    run = running({"db": (), "web": ("db:started",)}, keys=keys)
    run.advance(2.0)
    assert stop(run, 3.0) == []
    assert run.advance(6.0) == ["SIGKILL web timeout", "SIGTERM db user"]


def test_an_attempt_that_was_killed_before_is_not_waited_for():
    keys = {"web": {"timeout": 2.0, "stop": Stop(grace=1.0)}}
    run = running({"db": (), "web": ("db:started",)}, keys=keys)
    run.advance(2.0)
    run.advance(3.0)
    assert stop(run, 3.1) == ["SIGTERM db user"]


def test_the_attempt_after_a_killed_one_is_waited_for():
    killed = {"timeout": 2.0, "stop": Stop(grace=1.0), "retry": Retry(retries=1)}
    spec = {"db": (), "web": ("db:started",), "other": ()}
    run = running(spec, keys={"web": killed, "other": killed})
    run.advance(2.0)
    run.advance(3.0)
    for name in ("other", "web"):
        run.exited(name, succeeded=False, now=3.1)
    run.advance(3.1)
    run.started("web", now=3.2)
    assert "SIGTERM db user" not in stop(run, 3.3)


# ---- tasks that a user stops


def test_tasks_that_are_stopped_together_are_asked_in_order():
    run = running(SERVICES)
    assert run.stopped("db", "web") == ["SIGTERM web user"]
    assert run.exited("web")[-1] == "SIGTERM db user"
    assert run.outcome("client") is None


def test_a_task_that_is_stopped_alone_does_not_wait_for_the_others():
    assert running(SERVICES).stopped("db") == ["SIGTERM db user"]


def test_a_task_waits_for_one_that_was_stopped_before():
    run = running(SERVICES)
    run.stopped("client")
    assert run.stopped("db") == []
    assert run.exited("client")[-1] == "SIGTERM db user"


def test_the_end_of_the_run_joins_the_stop_of_a_task():
    run = running(SERVICES)
    run.stopped("web", "db")
    assert stop(run, 2.0) == ["SIGTERM client user", "SIGTERM worker user"]
    run.exited("worker")
    run.exited("client")
    assert run.exited("web")[-1] == "SIGTERM db user"


def test_after_a_stop_of_tasks_the_others_continue():
    spec = {"db": (), "web": ("db:started",), "a": (), "b": ("a",)}
    run = Run(plan(spec)).started("db", "web", "a")
    run.stopped("db", "web")
    run.exited("web")
    run.exited("db")
    assert run.exited("a")[-1] == "start b"
    run.started("b")
    run.exited("b")
    assert run.scheduler.finished


# ---- readiness


def test_a_service_that_waits_for_its_turn_may_become_ready():
    ready = Ready(kind="tcp", what="80", timeout=30.0)
    run = running({"db": (), "web": ("db:started",)}, daemons=["db"], keys={"db": {"ready": ready}})
    stop(run)
    assert run.is_ready("db") == ["ready db 1"]


# ---- the longest path


def longest(needs, graces):
    return StopOrder(graces, lambda name: needs.get(name, ())).longest(graces.__getitem__)


def test_the_worst_case_is_the_sum_of_the_graces_along_the_longest_path():
    needs = {"client": ["web"], "web": ["db", "cache"], "worker": ["db"]}
    graces = {"client": 1.0, "web": 2.0, "worker": 10.0, "db": 4.0, "cache": 8.0}
    assert longest(needs, graces) == 14.0
    assert longest(needs, {**graces, "worker": 0.0}) == 11.0
    assert longest({}, graces) == 10.0
    assert longest({}, {}) == 0.0


def test_tasks_that_are_not_stopped_add_nothing_to_a_path():
    needs = {"client": ["web"], "web": ["db"]}
    assert longest(needs, {"client": 1.0, "db": 4.0}) == 5.0


@pytest.mark.parametrize(
    ("names", "limit"),
    [
        (["worker", "db", "web", "client"], StopLimit(seconds=13.0, has_steps=True, is_exact=False)),
        (["client", "db"], StopLimit(seconds=8.0, has_steps=True, is_exact=False)),
        (["web", "worker"], StopLimit(seconds=5.0)),
        (["client", "other"], StopLimit(seconds=5.0, is_exact=False)),
        (["each[0]", "each[7]", "new"], StopLimit(seconds=0.5)),
        (["each[0]", "db"], StopLimit(seconds=3.5, has_steps=True, is_exact=False)),
        ([], StopLimit(seconds=0.0)),
    ],
)
def test_the_limit_of_running_tasks_is_known_from_the_plan(names, limit):
    keys = {
        "db": {"stop": Stop(grace=3.0)},
        "each": {"stop": Stop(grace=0.5)},
        "other": {"stop": Stop(grace=1.0)},
    }
    made = plan({**SERVICES, "each": ("db:started",), "other": ()}, keys=keys, late={"each"})
    assert stop_limit_by_name(made, names) == limit


def test_a_long_chain_is_planned_without_recursion_and_quickly():
    count = 50_000
    order = StopOrder(range(count), lambda number: [number - 1] if number else [])
    assert order.longest(lambda _: 1.0) == count
    assert order.has_steps
    for number in reversed(range(1, count)):
        assert order.release(number) == [number - 1]
    assert not order.has_steps
    assert order.release(0) == []
    assert not order

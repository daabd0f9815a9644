"""The scheduler in virtual time: order, joins, conditions, retries and stops."""

from __future__ import annotations

from collections import deque

import pytest
from support.plans import plan
from support.scheduling import Run
from support.timing import cpu_time, growth

from mprun.jobfile.model import Retry, Stop
from mprun.outcomes import Outcome
from mprun.scheduling import retry
from mprun.scheduling.instructions import Start
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.scheduler import Scheduler

GRACE = Stop().grace


def test_tasks_start_in_file_order_and_one_is_dispatched_ahead_of_the_slots():
    run = Run(plan({"c": (), "a": (), "b": (), "d": ()}, slots=2))
    assert run.log == ["start c", "start a", "start b"]
    run.started("c", "a")
    assert run.exited("a") == ["succeeded a", "start d"]


def test_no_task_is_dispatched_ahead_of_one_that_comes_before_it_in_the_file():
    run = Run(plan({"a": (), "b": ("a",), "c": (), "d": ()}, slots=1)).started("a")
    assert run.log == ["start a"]
    run.exited("a")
    assert run.log[-2:] == ["start b", "start c"]


def test_no_task_is_dispatched_ahead_with_fail_fast():
    run = Run(plan({"a": (), "b": ()}, slots=1, fail_fast=True)).started("a")
    assert run.log == ["start a"]
    assert run.exited("a")[-1] == "start b"


def test_daemons_take_no_slot():
    run = Run(plan({"d": (), "a": (), "e": (), "b": (), "c": ()}, daemons=("d", "e"), slots=1))
    assert run.log == ["start d", "start a", "start e", "start b"]


def test_joins_do_not_wait_for_tasks_without_a_slot():
    run = Run(plan({"a": (), "b": ()}, join=[("a", 0.5)], slots=1)).started("a", now=1.0)
    assert run.scheduler.deadline == 1.5


def test_dependent_starts_after_its_dependency_was_joined():
    run = Run(plan({"add": (), "read": ("add",)})).started("add")
    assert run.exited("add") == ["succeeded add", "join add 1/2", "start read"]


def test_direct_and_indirect_dependents_of_a_failure_are_skipped():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b",), "d": ()})).started("a", "d")
    assert run.exited("a", succeeded=False) == ["failed a", "skipped b", "skipped c", "join a 1/4"]
    run.exited("d")
    assert run.scheduler.finished


def test_a_failure_is_recorded_at_once_and_joined_in_order():
    run = Run(plan({"a": (), "b": ()}, join=[("a", None), ("b", None)])).started("a", "b")
    assert run.exited("b", succeeded=False) == ["failed b"]
    assert run.exited("a") == ["succeeded a", "join a 1/2", "join b 2/2"]


def test_unlisted_tasks_are_joined_after_the_listed_ones():
    run = Run(plan({"slow": (), "quick": ()}, join=[("quick", None)])).started("slow", "quick")
    assert run.exited("quick") == ["succeeded quick", "join quick 1/2"]
    assert not run.scheduler.finished
    assert run.exited("slow") == ["succeeded slow", "join slow 2/2"]
    assert run.scheduler.finished


def test_join_timeout_counts_from_when_everything_was_started():
    run = Run(plan({"work": ()}, daemons=("work",), join=[("work", 0.5)]))
    assert run.scheduler.deadline is None
    run.started("work", now=10.0)
    assert run.scheduler.deadline == 10.5
    assert run.apply(run.scheduler.handle_deadline(10.4)) == []
    assert run.apply(run.scheduler.handle_deadline(10.5)) == ["SIGTERM work run_finished"]
    assert run.exited("work", now=10.6) == ["stopped work"]
    assert run.scheduler.finished


def test_a_task_whose_join_timed_out_is_still_waited_for():
    run = Run(plan({"a": (), "b": ()}, join=[("a", 1.0), ("b", None)])).started("a", "b")
    run.apply(run.scheduler.handle_deadline(1.0))
    assert run.exited("b", now=2.0) == ["succeeded b", "join b 1/2"]
    assert run.exited("a", now=3.0) == ["succeeded a", "join a 2/2"]
    assert run.scheduler.finished


def test_daemons_are_stopped_after_the_last_join_last_started_first():
    run = Run(plan({"d": (), "e": (), "a": ()}, daemons=("d", "e"))).started("d", "e", "a")
    assert run.exited("a") == [
        "succeeded a",
        "join a 1/1",
        "SIGTERM e run_finished",
        "SIGTERM d run_finished",
    ]


def test_a_job_with_only_daemons_ends_at_once_unless_join_lists_them():
    run = Run(plan({"d": ()}, daemons=("d",)))
    assert run.log == ["start d"]
    assert run.started("d").last == ["SIGTERM d run_finished"]
    run = Run(plan({"d": ()}, daemons=("d",), join=[("d", None)])).started("d")
    assert run.last == []
    assert run.exited("d") == ["succeeded d", "join d 1/1"]


def test_daemon_that_fails_by_itself_has_failed():
    run = Run(plan({"d": (), "a": ()}, daemons=("d",))).started("d", "a")
    assert run.exited("d", succeeded=False) == ["failed d"]


def test_daemon_that_could_not_start_before_the_end_is_cancelled():
    run = Run(plan({"d": (), "e": ("d:succeeded",), "a": ()}, daemons=("d", "e"))).started("d", "a")
    run.exited("a")
    assert run.outcome("e") == Outcome.CANCELLED
    run.exited("d")
    assert run.scheduler.finished


def test_stop_cancels_waiting_tasks_and_signals_running_ones_last_started_first():
    run = Run(plan({"a": (), "b": (), "c": ("a",)}, slots=2)).started("a", "b")
    assert run.apply(run.scheduler.stop("user", 5.0)) == [
        "cancelled c",
        "SIGTERM b user",
        "SIGTERM a user",
    ]
    assert run.exited("a", now=5.1)[0] == "stopped a"
    assert not run.scheduler.finished
    run.exited("b", now=5.1)
    assert run.scheduler.finished


def test_task_that_ignores_the_stop_signal_is_killed_after_the_grace():
    run = Run(plan({"a": ()})).started("a")
    run.apply(run.scheduler.stop("user", 5.0))
    assert run.scheduler.deadline == 5.0 + GRACE
    assert run.apply(run.scheduler.handle_deadline(5.0 + GRACE)) == ["SIGKILL a user"]


def test_second_stop_kills_at_once():
    run = Run(plan({"a": ()})).started("a")
    run.apply(run.scheduler.stop("user", 5.0))
    assert run.apply(run.scheduler.stop("user", 5.1, kill=True)) == ["SIGKILL a user"]


def test_stop_of_a_task_that_has_no_process_yet_waits_for_its_process():
    run = Run(plan({"a": ()}))
    assert run.apply(run.scheduler.stop("user", 0.1)) == ["cancel start a"]
    run.started("a", now=0.2)
    assert run.last == ["SIGTERM a user"]


def test_second_stop_kills_an_attempt_as_soon_as_it_has_a_process():
    run = Run(plan({"a": ()}))
    run.apply(run.scheduler.stop("user", 0.1))
    run.apply(run.scheduler.stop("user", 0.2, kill=True))
    assert run.started("a", now=0.3).last == ["SIGKILL a user"]


def test_a_task_whose_start_was_cancelled_is_cancelled():
    run = Run(plan({"a": (), "b": ()}, slots=1)).started("a")
    assert run.apply(run.scheduler.stop("user", 1.0)) == ["cancel start b", "SIGTERM a user"]
    assert run.apply(run.scheduler.handle_start_cancelled(1, 1.1)) == ["cancelled b"]
    run.exited("a")
    assert run.scheduler.finished


@pytest.mark.parametrize(("began", "end"), [({1}, "unknown b"), (set(), "cancelled b")])
def test_a_dispatched_task_that_has_not_begun_is_cancelled_when_the_executor_is_lost(began, end):
    run = Run(plan({"a": (), "b": ()}, slots=1)).started("a")
    assert run.scheduler.unstarted() == [(1, 1)]
    assert run.apply(run.scheduler.handle_executor_lost("launcher lost", began, 1.0))[:2] == [
        "unknown a",
        end,
    ]
    assert run.scheduler.finished


def test_the_outcome_of_a_running_task_is_unknown_when_the_executor_is_lost():
    run = Run(plan({"a": (), "b": ("a",)})).started("a")
    assert run.apply(run.scheduler.handle_executor_lost("launcher lost", {0}, 1.0)) == [
        "cancelled b",
        "unknown a",
        "join a 1/2",
    ]
    assert run.scheduler.finished


def test_chain_of_ten_thousand_needs_no_recursion():
    names = [f"t{number}" for number in range(10_000)]
    run = Run(plan({name: (names[number - 1],) if number else () for number, name in enumerate(names)}))
    run.started("t0")
    run.exited("t0", succeeded=False)
    assert run.scheduler.finished
    assert run.scheduler.outcomes.count(Outcome.SKIPPED) == 9_999


# ---- conditions


def test_finished_is_met_by_any_outcome():
    spec = {"a": (), "b": ("a",), "c": ("a:finished",), "d": ("b:finished",)}
    run = Run(plan(spec)).started("a")
    assert run.exited("a", succeeded=False)[1:] == ["skipped b", "join a 1/4", "start c", "start d"]


def test_failed_is_met_only_by_a_failure():
    run = Run(plan({"a": (), "b": (), "c": ("a:failed",), "d": ("b:failed",)})).started("a", "b")
    assert run.exited("a", succeeded=False)[-1] == "start c"
    assert run.exited("b")[:2] == ["succeeded b", "skipped d"]


def test_started_is_met_once_there_is_a_process():
    run = Run(plan({"server": (), "client": ("server:started",)}, daemons=("server",)))
    assert run.log == ["start server"]
    assert run.started("server").last == ["start client"]


def test_started_is_never_met_by_a_task_that_never_starts():
    run = Run(plan({"a": (), "b": ("a",), "c": ("b:started",)})).started("a")
    assert run.exited("a", succeeded=False)[:3] == ["failed a", "skipped b", "skipped c"]


def test_started_is_met_once_however_often_the_task_is_retried():
    retry = {"a": {"retry": Retry(retries=1)}}
    run = Run(plan({"a": (), "b": ("a:started", "c"), "c": ()}, keys=retry)).started("a", "c")
    run.exited("a", succeeded=False)
    run.advance(1.0)
    run.started("a", now=1.0)
    assert "start b" not in run.log
    assert run.exited("c")[-1] == "start b"


def test_a_pattern_means_every_task_that_it_matches():
    run = Run(plan({"t[m=a,n=1]": (), "t[m=b,n=1]": (), "end": ("t[m=?,n=*",)}))
    assert run.log == ["start t[m=a,n=1]", "start t[m=b,n=1]"]


def test_name_and_pattern_may_have_different_conditions_on_one_task():
    spec = {"a1": (), "a2": (), "z": ("a1:succeeded", "a*:finished")}
    run = Run(plan(spec)).started("a1", "a2")
    run.exited("a1", succeeded=False)
    assert run.outcome("z") == "skipped"


# ---- retries and timeouts


def retrying(**retry):
    return {"a": {"retry": Retry(**retry)}}


def test_failed_attempt_is_followed_by_another_after_the_delay():
    run = Run(plan({"a": ()}, keys=retrying(retries=2, delay=1.0, backoff=3.0))).started("a")
    assert run.exited("a", succeeded=False, now=1.0) == ["retry a 2 in 1"]
    assert run.scheduler.deadline == 2.0
    assert run.advance(2.0) == ["start a"]
    run.started("a", now=2.0)
    assert run.exited("a", succeeded=False, now=3.0) == ["retry a 3 in 3"]
    assert run.advance(6.0) == ["start a"]
    run.started("a", now=6.0)
    assert run.exited("a", succeeded=False, now=7.0)[0] == "failed a"


def test_a_task_needs_no_slot_while_it_waits_for_its_retry():
    run = Run(plan({"a": (), "b": ()}, keys=retrying(retries=1, delay=9.0), slots=1)).started("a")
    assert run.exited("a", succeeded=False) == ["retry a 2 in 9"]
    assert run.log == ["start a", "start b", "retry a 2 in 9"]


def test_the_delay_has_a_limit_and_jitter():
    the_plan = plan({"a": ()}, keys=retrying(retries=9, delay=8.0, backoff=10.0, max_delay=10.0, jitter=0.5))
    run = Run(the_plan, random=lambda: 1.0).started("a")
    assert run.exited("a", succeeded=False) == ["retry a 2 in 4"]
    run.advance(100.0)
    run.started("a")
    assert run.exited("a", succeeded=False) == ["retry a 3 in 5"]


@pytest.mark.parametrize(
    ("retry", "code", "exceptions", "again"),
    [
        ({}, 1, ("ValueError",), True),
        ({"exit_codes": (75,)}, 75, (), True),
        ({"exit_codes": (75,)}, 1, ("ValueError",), False),
        ({"exceptions": ("OSError",)}, 1, ("ConnectionError", "OSError"), True),
        ({"exceptions": ("OSError",)}, 1, ("ValueError",), False),
        ({"exceptions": ("OSError",), "exit_codes": (-9,)}, -9, (), True),
    ],
)
def test_only_failures_that_match_are_retried(retry, code, exceptions, again):
    run = Run(plan({"a": ()}, keys=retrying(retries=1, **retry))).started("a")
    last = run.exited("a", succeeded=False, code=code, exceptions=exceptions)
    assert last[0] == ("retry a 2 in 0" if again else "failed a")


def test_attempt_past_its_timeout_is_stopped_with_its_stacks_then_killed():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0, "stop": Stop(signal="SIGINT", grace=1.0)}}))
    run.started("a", now=10.0)
    assert run.advance(12.0) == ["SIGINT a timeout dump"]
    assert run.advance(13.0) == ["SIGKILL a timeout"]
    assert run.exited("a", now=13.1)[0] == "timed_out a"


def test_attempt_that_ended_before_its_timeout_was_noticed_has_not_timed_out():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0}})).started("a", now=10.0)
    run.advance(12.0)
    assert run.exited("a", now=11.9)[0] == "succeeded a"


def test_timed_out_attempt_is_retried_and_the_old_timer_is_void():
    run = Run(plan({"a": ()}, keys={"a": {"timeout": 2.0, "retry": Retry(retries=1)}})).started("a")
    run.advance(2.0)
    assert run.exited("a", now=2.1) == ["retry a 2 in 0"]
    run.advance(2.1)
    run.started("a", now=3.0)
    assert run.advance(4.9) == []
    assert run.exited("a", now=4.95)[0] == "succeeded a"


def test_a_task_that_is_stopped_between_attempts_has_failed():
    run = Run(plan({"a": ()}, keys=retrying(retries=5, delay=60.0))).started("a")
    run.exited("a", succeeded=False)
    assert run.apply(run.scheduler.stop("user", 2.0))[0] == "failed a"
    assert run.scheduler.finished


def test_a_stopped_attempt_is_not_retried():
    run = Run(plan({"a": ()}, keys=retrying(retries=5))).started("a")
    run.apply(run.scheduler.stop("user", 2.0))
    assert run.exited("a", succeeded=False)[0] == "stopped a"


def test_run_past_its_timeout_is_stopped():
    run = Run(plan({"a": (), "b": ("a",)}, timeout=5.0)).started("a")
    assert run.advance(5.0) == ["cancelled b", "SIGTERM a run_timeout dump"]
    assert run.exited("a", now=5.1)[0] == "stopped a"
    assert run.scheduler.end_reason == "run_timeout"


# ---- fail_fast


def test_the_first_failure_stops_the_run_with_fail_fast():
    run = Run(plan({"a": (), "b": (), "c": ("b",)}, fail_fast=True)).started("a", "b")
    assert run.exited("a", succeeded=False)[:3] == ["failed a", "cancelled c", "SIGTERM b fail_fast"]
    assert run.exited("b")[0] == "stopped b"
    assert run.scheduler.end_reason == "fail_fast"


def test_allowed_failure_stops_nothing():
    keys = {"a": {"allow_failure": True}}
    run = Run(plan({"a": (), "b": ()}, fail_fast=True, keys=keys)).started("a", "b")
    assert run.exited("a", succeeded=False) == ["failed a", "join a 1/2"]


def test_a_task_costs_the_same_in_a_long_run_as_in_a_short_one():
    def spent(count):
        scheduler = Scheduler(plan({f"t{number}": () for number in range(count)}, slots=2))
        succeeded = AttemptResult(succeeded=True, reason="")
        with cpu_time() as used:
            queue = deque(
                instruction.task for instruction in scheduler.begin(0.0) if isinstance(instruction, Start)
            )
            while queue:
                task = queue.popleft()
                instructions = scheduler.handle_started(task, 0.0)
                instructions += scheduler.handle_exited(task, succeeded, 0.0)
                while scheduler.has_more:
                    instructions += scheduler.proceed(0.0)
                queue += [instruction.task for instruction in instructions if isinstance(instruction, Start)]
            assert scheduler.finished
        return used.seconds

    # With ten times as many tasks: 1 if the cost is linear, near 10 if one step looks at all tasks.
    assert growth(lambda: spent(2_000), lambda: spent(20_000)) < 2 * 10


def test_a_delay_of_0_stays_0_with_any_backoff():
    assert retry.delay(Retry(delay=0.0, backoff=1e200), 4, lambda: 0.0) == 0.0
    assert retry.delay(Retry(delay=1.0, backoff=1e200), 4, lambda: 0.0) == retry.MAX_DELAY

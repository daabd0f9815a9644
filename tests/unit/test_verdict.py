"""The verdict of a run: its exit code, from how its tasks ended and what else happened.

`tests/support/model.py` states the same rule anew, and is compared with it after each random run.
"""

from __future__ import annotations

import signal

import pytest
from support.plans import plan
from support.random_run import run_seed
from support.scheduling import Run

from mprun.scheduling.instructions import FAIL_FAST, RUN_FINISHED, RUN_TIMED_OUT, USER
from mprun.scheduling.verdict import MET_BY, TaskEnds, end_of, failing, lacking, verdict

TASKS = plan({"a": (), "b": ()}, keys={"b": {"allow_failure": True}}).tasks


def ends(*outcomes, tasks=TASKS, **more):
    return TaskEnds(tasks=tasks, outcomes=outcomes, **more)


def decided(*outcomes, expanded=(), skipped_by_when=(), stopped=(), tasks=TASKS, **more):
    how = {"expanded": expanded, "skipped_by_when": skipped_by_when, "stopped": stopped, "tasks": tasks}
    found = verdict(ends(*outcomes, **how), **more)
    return found.outcome, found.exit_code, found.reason


# ---- one task


@pytest.mark.parametrize("second", ["succeeded", "failed", "timed_out"])
def test_run_succeeds_unless_a_failure_counts(second):
    assert decided("succeeded", second) == ("succeeded", 0, "")
    assert decided(None, second, expanded={0}) == ("succeeded", 0, "")


@pytest.mark.parametrize("first", ["failed", "timed_out", "unknown", "stopped", "cancelled", None])
def test_every_other_end_of_a_task_fails_the_run(first):
    assert decided(first, "succeeded") == ("failed", 1, "")


@pytest.mark.parametrize("second", ["unknown", "stopped", "cancelled", None])
def test_only_a_failure_is_allowed(second):
    assert decided("succeeded", second) == ("failed", 1, "")


@pytest.mark.parametrize("end", ["stopped", "cancelled"])
def test_the_run_does_not_wait_for_daemons(end):
    tasks = plan({"a": (), "b": ()}, daemons=("b",)).tasks
    assert decided("succeeded", end, tasks=tasks, end_reason=RUN_FINISHED) == ("succeeded", 0, "")
    assert decided(end, end, tasks=tasks) == ("failed", 1, "")


@pytest.mark.parametrize("first", ["stopped", "cancelled", "skipped"])
def test_task_stopped_by_request_fails_the_run_unless_it_still_succeeded(first):
    assert decided(first, "succeeded", stopped={0}) == ("failed", 1, "")
    assert decided("succeeded", "succeeded", stopped={0}) == ("succeeded", 0, "")


@pytest.mark.parametrize("first", ["stopped", "cancelled"])
def test_verdict_names_tasks_stopped_by_request_if_no_other_task_fails_the_run(first):
    assert verdict(ends(first, "skipped", stopped={0})).requested == (0,)
    assert verdict(ends(first, first, stopped={0, 1})).requested == (0, 1)
    assert verdict(ends(first, "unknown", stopped={0})).requested == ()
    assert verdict(ends(first, "succeeded", stopped={0}), end_reason=FAIL_FAST).requested == ()
    assert verdict(ends("succeeded", "succeeded", stopped={0})).requested == ()


@pytest.mark.parametrize("reason", [FAIL_FAST, RUN_TIMED_OUT])
def test_early_end_fails_the_run_with_its_reason(reason):
    assert decided("stopped", "cancelled", end_reason=reason) == ("failed", 1, reason)
    assert decided("succeeded", "succeeded", end_reason=reason) == ("failed", 1, reason)


def test_a_run_that_ended_early_for_any_reason_has_not_succeeded():
    assert decided("succeeded", "succeeded", end_reason=USER)[1] == 1
    assert decided("succeeded", "succeeded", end_reason=RUN_FINISHED)[1] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_counts_more_than_failed_tasks(number):
    given = (number, number.name)
    ended = decided("failed", "failed", end_reason=FAIL_FAST, signal=given, stopped={0})
    assert ended == ("interrupted", 128 + number, number.name)


def test_failure_of_mprun_counts_most():
    given = (signal.SIGINT, "SIGINT")
    ended = decided("failed", "failed", end_reason=USER, signal=given, failure="disk full")
    assert ended == ("failed", 3, "disk full")


def test_outcomes_are_counted_without_expanded_tasks():
    tasks = plan(dict.fromkeys("abcd", ()), keys={"d": {"allow_failure": True}}).tasks
    found = verdict(ends("failed", None, "succeeded", "failed", tasks=tasks, expanded={1}))
    assert found.counts == {"failed": 2, "succeeded": 1}
    assert found.allowed == {"failed": 1}
    assert {type(outcome) for outcome in found.counts} == {str}


# ---- a task that is skipped


def skipped(spec, *outcomes, allowed=(), by_when=(), **more):
    """The skipped tasks that fail the run, by name."""
    tasks = plan(spec, keys={name: {"allow_failure": True} for name in allowed}, **more).tasks
    names = list(spec)
    found = ends(*outcomes, tasks=tasks, skipped_by_when={names.index(name) for name in by_when})
    assert verdict(found).exit_code == int(bool(failing(found) or lacking(found)))
    return [names[number] for number in lacking(found)]


@pytest.mark.parametrize(
    ("condition", "end"),
    [
        (":succeeded", "failed"),
        (":succeeded", "timed_out"),
        (":started", "failed"),
        (":started", "cancelled"),
        ("", "stopped"),
    ],
)
def test_task_skipped_for_lack_of_a_success_or_a_start_fails_the_run_C02(condition, end):
    spec = {"a": (), "b": (f"a{condition}",)}
    assert skipped(spec, end, "skipped", allowed="a") == ["b"]
    assert skipped(spec, end, "skipped", allowed="ab") == []


@pytest.mark.parametrize("condition", ["", ":ready", ":started"])
def test_task_skipped_for_lack_of_a_service_fails_the_run_C02(condition):
    spec = {"a": (), "b": (f"a{condition}",), "c": ("b",)}
    assert skipped(spec, "failed", "skipped", "skipped", allowed="a", daemons=("a",)) == ["b", "c"]


def test_task_skipped_by_its_when_or_after_such_a_skip_does_not_fail_the_run():
    spec = {"a": (), "b": ("a:failed",), "c": ("b",), "d": ("c:started",)}
    assert skipped(spec, "skipped", "skipped", "skipped", "skipped", by_when="a") == []


def test_task_skipped_as_a_failure_did_not_come_does_not_fail_the_run():
    spec = {"a": (), "b": ("a:failed",), "c": ("b",), "d": ("c",)}
    assert skipped(spec, "succeeded", "skipped", "skipped", "skipped") == []


def test_an_allowed_skip_is_not_a_success_for_what_comes_after_it():
    """`c` was to run, and the file does not say that it may be left out."""
    spec = {"a": (), "b": ("a:succeeded",), "c": ("b",)}
    assert skipped(spec, "failed", "skipped", "skipped", allowed="ab") == ["c"]


def test_one_cause_that_is_as_planned_is_enough_whichever_came_first():
    spec = {"a": (), "b": (), "c": ("a:succeeded", "b:failed"), "d": ("b:failed", "a:succeeded")}
    assert skipped(spec, "failed", "succeeded", "skipped", "skipped", allowed="a") == []
    assert skipped(spec, "failed", "failed", "skipped", "skipped", allowed="ab") == ["c", "d"]


def test_a_skip_that_let_a_task_run_is_not_the_cause_of_its_own():
    spec = {"off": (), "a": (), "b": ("off", "a:succeeded")}
    assert skipped(spec, "skipped", "failed", "skipped", allowed="a", by_when=("off",)) == ["b"]


def test_a_failure_of_all_instances_is_not_one_that_did_not_come():
    spec = {"g": (), "a": (), "b": ("g:failed", "a:succeeded")}
    tasks = plan(spec, keys={name: {"allow_failure": True} for name in "ga"}).tasks
    instance = tasks[0].replace(name="g[0]")
    found = ends(None, "failed", "skipped", "failed", tasks=[*tasks, instance], expanded={0})
    assert verdict(found).lacking == (2,)


def test_a_failure_of_instances_that_did_not_come_is_as_planned():
    spec = {"a": (), "b": ("a:failed",)}
    tasks = plan(spec).tasks
    instance = tasks[0].replace(name="a[0]")
    found = ends(None, "skipped", "succeeded", tasks=[*tasks, instance], expanded={0})
    assert verdict(found).exit_code == 0


def test_skips_are_the_reason_only_if_no_task_failed():
    tasks = plan({"a": (), "b": ("a:succeeded",), "c": ()}, keys={"a": {"allow_failure": True}}).tasks
    assert verdict(ends("failed", "skipped", "succeeded", tasks=tasks)).lacking == (1,)
    assert verdict(ends("failed", "skipped", "failed", tasks=tasks)).lacking == ()
    found = verdict(ends("failed", "skipped", "succeeded", tasks=tasks), signal=(15, "SIGTERM"))
    assert found.lacking == ()


# ---- conditions

ENDS = {
    "succeeded": ("succeeded", False, False),
    "failed": ("failed", False, False),
    "timed out": ("timed_out", False, False),
    "failed, allowed": ("failed", True, False),
    "timed out, allowed": ("timed_out", True, False),
    "when": ("skipped", False, True),
    "skipped": ("skipped", False, False),
    "skipped, allowed": ("skipped", True, False),
    "stopped": ("stopped", True, False),
    "cancelled": ("cancelled", True, False),
    "unknown": ("unknown", True, False),
}
MET = {
    "passed": {"succeeded", "failed, allowed", "timed out, allowed", "when"},
    "succeeded": {"succeeded", "when"},
    "finished": set(ENDS),
    "failed": {"failed", "timed out", "failed, allowed", "timed out, allowed"},
    "expanded": set(ENDS),
    "started": {"succeeded", "when"},
    "ready": {"succeeded", "when"},
}


@pytest.mark.parametrize("condition", MET)
def test_which_ends_meet_a_condition_C03(condition):
    assert MET.keys() == MET_BY.keys()
    met = {
        name
        for name, (outcome, allowed, by_when) in ENDS.items()
        if end_of(outcome, allow_failure=allowed, skipped_by_when=by_when) in MET_BY[condition]
    }
    assert met == MET[condition]


def test_an_allowed_failure_lets_dependents_run_C03():
    run = Run(plan({"a": (), "b": ("a",), "c": ("a:succeeded",)}, keys={"a": {"allow_failure": True}}))
    run.started("a")
    assert run.exited("a", succeeded=False) == [
        "failed a",
        "skipped c",
        "join a 1/3",
        "start b",
    ]
    assert run.reasons["c"] == "`a` did not succeed"


def test_the_condition_of_a_daemon_is_that_it_serves_C19():
    from mprun.jobfile.model import Ready

    ready = {"ready": Ready(kind="tcp", what="80")}
    spec = {"plain": (), "served": (), "a": ("plain",), "b": ("served",)}
    run = Run(plan(spec, daemons=("plain", "served"), keys={"served": ready}))
    assert run.started("plain", "served").last == ["start a"] or "start a" in run.log
    assert "start b" not in run.log
    assert "start b" in run.is_ready("served")


# ---- whole runs


def test_exit_0_if_and_only_if_the_table_says_so_over_random_graphs():
    """`run_seed` compares the verdict with that of the model; both verdicts must occur, and often."""
    codes = [run_seed(seed).model.exit_code for seed in range(20_000, 20_400)]
    assert codes.count(0) > 40
    assert codes.count(1) > 40


# ---- flaky tasks


def test_a_flaky_success_fails_the_run_only_if_it_is_to():
    assert decided("succeeded", "succeeded") == ("succeeded", 0, "")
    assert verdict(ends("succeeded", "succeeded", flaky={0: False})).exit_code == 0
    found = verdict(ends("succeeded", "succeeded", flaky={0: True, 1: False}))
    assert (found.exit_code, found.flaky, found.flaky_failing) == (1, 2, (0,))


def test_a_flaky_task_is_named_only_if_nothing_else_failed_the_run():
    assert verdict(ends("succeeded", "unknown", flaky={0: True})).flaky_failing == ()
    assert verdict(ends("succeeded", "succeeded", flaky={0: True}), signal=(15, "TERM")).flaky_failing == ()
    assert verdict(ends("succeeded", "succeeded", flaky={0: True})).requested == ()
    assert verdict(ends("succeeded", "succeeded")).flaky_failing == ()

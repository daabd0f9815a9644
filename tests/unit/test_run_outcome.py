"""The outcome and exit code of a run, from the outcomes of its tasks and what else happened."""

from __future__ import annotations

import signal

import pytest
from support.plans import plan

from mprun.engine.run_outcome import count_outcomes, run_outcome
from mprun.scheduling.instructions import FAIL_FAST, RUN_TIMED_OUT, USER

TASKS = plan({"a": (), "b": ()}, keys={"b": {"allow_failure": True}}).tasks


def decided(*task_outcomes, **more):
    found = run_outcome(TASKS, task_outcomes, **more)
    return found.outcome, found.exit_code, found.reason


@pytest.mark.parametrize("first", ["succeeded", "stopped", "skipped", "cancelled", None])
@pytest.mark.parametrize("second", ["succeeded", "failed", "timed_out"])
def test_run_succeeds_unless_a_failure_counts(first, second):
    assert decided(first, second) == ("succeeded", 0, "")


@pytest.mark.parametrize("first", ["failed", "timed_out", "unknown"])
def test_failure_of_a_task_fails_the_run(first):
    assert decided(first, "succeeded") == ("failed", 1, "")


def test_unknown_end_is_never_allowed():
    assert decided("succeeded", "unknown") == ("failed", 1, "")


@pytest.mark.parametrize("first", ["stopped", "cancelled", "skipped"])
def test_task_stopped_by_request_fails_the_run_unless_it_still_succeeded(first):
    assert decided(first, "succeeded", stopped={0}) == ("failed", 1, "")
    assert decided("succeeded", "succeeded", stopped={0}) == ("succeeded", 0, "")


@pytest.mark.parametrize("reason", [FAIL_FAST, RUN_TIMED_OUT])
def test_early_end_fails_the_run_with_its_reason(reason):
    assert decided("stopped", "cancelled", end_reason=reason) == ("failed", 1, reason)


def test_end_by_the_user_is_not_a_failure():
    assert decided("stopped", "cancelled", end_reason=USER) == ("succeeded", 0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_counts_more_than_failed_tasks(number):
    ended = decided("failed", "failed", end_reason=FAIL_FAST, signal=number, stopped={0})
    assert ended == ("interrupted", 128 + number, number.name)


def test_failure_of_mprun_counts_most():
    ended = decided("failed", "failed", end_reason=USER, signal=signal.SIGINT, failure="disk full")
    assert ended == ("failed", 3, "disk full")


def test_outcomes_are_counted_without_expanded_tasks():
    assert count_outcomes(["failed", None, "succeeded", "failed"]) == {"failed": 2, "succeeded": 1}

"""What the end of an attempt means, and that the launcher's rule agrees with it."""

from __future__ import annotations

from itertools import product

import pytest
from support.plans import plan

from mprun.jobfile.model import Expect, Limits, Ready
from mprun.launcher.channel import attempt_succeeded
from mprun.scheduling import instructions
from mprun.scheduling.attempt_outcome import exit_code_decides, outcome_of
from mprun.scheduling.retry import AttemptResult
from mprun.scheduling.task_run import TaskRun

REASONS = (
    None,
    instructions.FAIL_FAST,
    instructions.RECORD_WRITE_FAILED,
    instructions.RUN_FINISHED,
    instructions.RUN_TIMED_OUT,
    instructions.TIMEOUT,
    instructions.USER,
)


def run_of(**keys):
    daemons = ("a",) if keys.pop("daemon", False) else ()
    return TaskRun(0, plan({"a": ()}, daemons=daemons, keys={"a": keys}).tasks[0], 0)


@pytest.mark.parametrize(
    ("exit_code", "asked", "seconds", "timeout"),
    list(product([0, 1, -15], [False, True], [0.0, 4.9, 5.0, 5.1], [None, 5.0])),
)
def test_an_exit_that_proves_success_is_a_success_whatever_the_attempt_was_asked_since(
    exit_code, asked, seconds, timeout
):
    run = run_of(timeout=timeout)
    assert exit_code_decides(run)
    proven = attempt_succeeded(exit_code, asked=asked, seconds=seconds, timeout=timeout)
    result = AttemptResult(
        succeeded=attempt_succeeded(exit_code), reason="exit", exit_code=exit_code, asked=asked
    )
    for run.stop_reason in REASONS:
        outcome, _ = outcome_of(run, result, seconds)
        assert outcome == "succeeded" or not proven


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("daemon", [False, True])
def test_an_attempt_whose_output_is_lost_has_failed_although_it_was_asked_to_end(reason, daemon):
    run = run_of(daemon=daemon, timeout=5.0)
    run.stop_reason = reason
    result = AttemptResult(succeeded=False, reason="its log", exit_code=0, lost_output=True)
    assert outcome_of(run, result, 9.0) == ("failed", "its log")


@pytest.mark.parametrize(
    "keys",
    [
        {"expect": Expect(output="x")},
        {"limits": Limits(log=1000)},
        {"ready": Ready(kind="tcp", what="80", timeout=1.0)},
        {"daemon": True},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_the_exit_code_does_not_decide_if_more_may_make_an_attempt_fail(keys):
    assert not exit_code_decides(run_of(**keys))


def test_the_exit_code_does_not_decide_once_the_attempt_was_asked_to_end():
    run = run_of()
    run.ask_to_end(instructions.TIMEOUT)
    assert not exit_code_decides(run)

"""The verdict of a run, and before it which conditions the end of a task meets; pure, by two tables.

docs/job-file.md prints both tables. Every exit code of a run, and every task that is skipped because
of another one, comes from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import EXPANDED, PASSED
from mprun.outcomes import EXIT_FAILED, EXIT_INTERNAL, EXIT_SUCCEEDED, Outcome
from mprun.scheduling.instructions import FAIL_FAST, RUN_FINISHED, RUN_TIMED_OUT
from mprun.scheduling.retry import FAILURES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mprun.scheduling.plan import PlannedTask

# How a task ended, as far as conditions ask.
_SUCCEEDED = "succeeded"
_FAILED = "failed"
# It failed, and has `allow_failure`.
_ALLOWED = "failed, allowed"
# It was skipped by its own `when`, or by that of the task that uses its recipe.
_NOT_WANTED = "skipped by `when`"
# It was skipped for another reason, stopped or cancelled, or its exit status is unknown.
_OTHERWISE = "otherwise"

# Which ends of a task meet a condition. Dependents see a task whose `when` is false as a success.
# `started` and `ready` are most often met before the end; a task that succeeded, perhaps in an earlier
# run, has been both.
MET_BY: dict[str, frozenset[str]] = {
    PASSED: frozenset({_SUCCEEDED, _ALLOWED, _NOT_WANTED}),
    "succeeded": frozenset({_SUCCEEDED, _NOT_WANTED}),
    "finished": frozenset({_SUCCEEDED, _FAILED, _ALLOWED, _NOT_WANTED, _OTHERWISE}),
    "failed": frozenset({_FAILED, _ALLOWED}),
    # A group that ends has no instances: what selects one of them finds that out.
    EXPANDED: frozenset({_SUCCEEDED, _FAILED, _ALLOWED, _NOT_WANTED, _OTHERWISE}),
    "started": frozenset({_SUCCEEDED, _NOT_WANTED}),
    "ready": frozenset({_SUCCEEDED, _NOT_WANTED}),
}

_UNMET = {
    PASSED: "did not succeed",
    "succeeded": "did not succeed",
    "failed": "did not fail",
    "started": "was never started",
    "ready": "was never ready",
}


def end_of(outcome: str | None, *, allow_failure: bool, skipped_by_when: bool) -> str:
    """How a task with this outcome ended, as far as conditions ask."""
    if outcome == Outcome.SUCCEEDED:
        return _SUCCEEDED
    if outcome in FAILURES:
        return _ALLOWED if allow_failure else _FAILED
    return _NOT_WANTED if skipped_by_when else _OTHERWISE


def unmet_reason(name: str, condition: str) -> str:
    """Why a task that depends on this one with this condition is skipped."""
    return f"`{name}` {_UNMET[condition]}"


class TaskEnds(Frozen):
    """How the tasks of a run ended, by number.

    `outcomes` has None for the `expanded` tasks, whose instances have outcomes instead. `stopped`
    are the tasks that were stopped by request, one by one. `flaky` are those that succeeded only after
    they were retried, each with whether that fails the run.
    """

    tasks: Sequence[PlannedTask]
    outcomes: Sequence[str | None]
    expanded: Collection[int] = ()
    skipped_by_when: Collection[int] = ()
    stopped: Collection[int] = ()
    flaky: Mapping[int, bool] = {}


class Verdict(Frozen):
    """How a run ended; `reason` is empty if the outcomes of its tasks say it.

    `counts` has the number of tasks by outcome, `allowed` the number of those that failed with
    `allow_failure`. `lacking` are the skipped tasks because of which the run failed, if no other
    task failed it, and `requested` those that were stopped or cancelled by request, likewise, and
    `flaky_failing` those that were flaky. `flaky` is the number of all that were.
    """

    outcome: str
    exit_code: int
    reason: str = ""
    counts: dict[str, int]
    allowed: dict[str, int]
    lacking: tuple[int, ...] = ()
    requested: tuple[int, ...] = ()
    flaky: int = 0
    flaky_failing: tuple[int, ...] = ()


def verdict(
    ends: TaskEnds, *, end_reason: str | None = None, signal: tuple[int, str] | None = None, failure: str = ""
) -> Verdict:
    """The verdict of a run, by what counts most: a failure of mprun itself, a signal, the tasks.

    `end_reason` says why the scheduler ended the run, `signal` is the number and the name of the one
    that stopped it.
    """
    fails = failing(ends)
    short = () if fails else tuple(lacking(ends))
    early = end_reason not in (None, RUN_FINISHED)
    reason, exit_code, outcome = "", EXIT_SUCCEEDED, Outcome.SUCCEEDED
    if failure:
        reason, exit_code, outcome = failure, EXIT_INTERNAL, Outcome.FAILED
    elif signal is not None:
        reason, exit_code, outcome = signal[1], 128 + signal[0], Outcome.INTERRUPTED
    elif early or fails or short:
        exit_code, outcome = EXIT_FAILED, Outcome.FAILED
        reason = end_reason if end_reason in (FAIL_FAST, RUN_TIMED_OUT) else ""
    counts, allowed = _counts(ends)
    is_plain = exit_code == EXIT_FAILED and not early
    return Verdict(
        outcome=outcome,
        exit_code=exit_code,
        reason=reason,
        counts=counts,
        allowed=allowed,
        lacking=short if is_plain else (),
        requested=tuple(fails) if is_plain and _by_request(ends, fails) else (),
        flaky=len(ends.flaky),
        flaky_failing=tuple(fails) if is_plain and all(ends.flaky.get(one) for one in fails) else (),
    )


def failing(ends: TaskEnds) -> list[int]:
    """The tasks that fail the run by how they ended, other than by being skipped."""
    by_request = {number for number in ends.stopped if ends.outcomes[number] != Outcome.SUCCEEDED}
    return [
        number
        for number, (planned, outcome) in enumerate(zip(ends.tasks, ends.outcomes, strict=True))
        if ends.flaky.get(number)
        or (
            outcome != Outcome.SUCCEEDED
            and (number in by_request or (number not in ends.expanded and _fails(planned, outcome)))
        )
    ]


def _by_request(ends: TaskEnds, numbers: Sequence[int]) -> bool:
    """Whether all of these tasks were stopped or cancelled by request."""
    ended = (Outcome.STOPPED, Outcome.CANCELLED)
    return all(number in ends.stopped and ends.outcomes[number] in ended for number in numbers)


def _fails(planned: PlannedTask, outcome: str | None) -> bool:
    if outcome in FAILURES:
        return not planned.task.allow_failure
    if outcome in (Outcome.STOPPED, Outcome.CANCELLED):
        # The run ends without waiting for daemons; no other task is stopped or cancelled as planned.
        return not planned.task.daemon
    return outcome != Outcome.SKIPPED


def lacking(ends: TaskEnds) -> list[int]:
    """The tasks that fail the run because they were skipped: a success, start or readiness did not come."""
    outcomes = ends.outcomes
    skipped = [number for number, outcome in enumerate(outcomes) if outcome == Outcome.SKIPPED]
    if not skipped:
        return []
    planned = _skipped_as_planned(ends, skipped)
    return [n for n in skipped if n not in planned and not ends.tasks[n].task.allow_failure]


def _skipped_as_planned(ends: TaskEnds, skipped: Sequence[int]) -> set[int]:
    """The tasks that were skipped by a `when`, by a failure that did not come, or by such a skip before.

    One such cause is enough: the task would not have run if everything else had gone well.
    """
    tasks, outcomes = ends.tasks, ends.outcomes
    found = {number for number in skipped if number in ends.skipped_by_when}
    for planned, outcome in zip(tasks, outcomes, strict=True):
        # An expanded task has no outcome, and its instances have its dependents.
        if planned.needed_by and outcome is not None and outcome not in FAILURES:
            afters = (after for after, condition in planned.needed_by if condition == "failed")
            found.update(after for after in afters if outcomes[after] == Outcome.SKIPPED)
    waiting = list(found)
    while waiting:
        number = waiting.pop()
        end = _NOT_WANTED if number in ends.skipped_by_when else _OTHERWISE
        for after, condition in tasks[number].needed_by:
            if outcomes[after] == Outcome.SKIPPED and after not in found and end not in MET_BY[condition]:
                found.add(after)
                waiting.append(after)
    return found


def _counts(ends: TaskEnds) -> tuple[dict[str, int], dict[str, int]]:
    """How many tasks had each outcome, and how many of them failed with `allow_failure`."""
    counts: dict[str, int] = {}
    allowed: dict[str, int] = {}
    for planned, outcome in zip(ends.tasks, ends.outcomes, strict=True):
        if outcome is not None:
            counts[outcome] = counts.get(outcome, 0) + 1
            if planned.task.allow_failure and outcome in FAILURES:
                allowed[outcome] = allowed.get(outcome, 0) + 1
    return _with_plain_keys(counts), _with_plain_keys(allowed)


def _with_plain_keys(counts: dict[str, int]) -> dict[str, int]:
    # Members of an enum are strings, too, but not for every reader.
    return {str(outcome): count for outcome, count in counts.items()}

"""Decides whether another attempt follows, and after which delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import Retry
from mprun.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.jobfile.model import Task
    from mprun.scheduling.plan import PlannedTask

# The outcomes that a condition, a retry and `fail_fast` treat as a failure.
FAILURES = (Outcome.FAILED, Outcome.TIMED_OUT)

# Why there is another attempt: a failure is retried, a daemon is restarted.
RETRY = "retry"
RESTART = "restart"
# It runs again, because its host was lost.
HOST_LOST = "host_lost"

# It has not failed, and runs again with all of its recipe.
RECIPE = "recipe"

# The reason of a task that succeeded after it was retried, if that fails the run.
FLAKY = "flaky"

# The delays of a restart whose `retry` sets none: long enough that a daemon that fails at once does
# not fill the record, short enough that one that was up is soon back.
RESTART_DELAY = Retry(delay=0.1, backoff=2.0, max_delay=60.0)

# An attempt that ran for this many seconds was stable: the delays after it start anew.
STABLE_AFTER = 10.0

# The longest delay in seconds, about thirty years.
MAX_DELAY = 1e9


class AttemptResult(Frozen):
    """How an attempt ended, as far as the policies ask.

    `succeeded` is by the exit code, or by the task's `expect`. `reason` is in words. `exceptions`
    are the names of the exception's class and of its bases. `unready` is what the `ready` probe saw
    last of an attempt that was not ready yet. `asked` is whether the attempt may have been sent a
    signal to end. `lost_output` is whether its log is not complete, as `reason` says.
    """

    succeeded: bool
    reason: str
    exit_code: int | None = None
    exceptions: tuple[str, ...] = ()
    unready: str = ""
    asked: bool = True
    lost_output: bool = False


def reason_for_another(task: Task, outcome: str, attempts: int, result: AttemptResult) -> str | None:
    """`restart` or `retry` if there is another attempt after this many, else None.

    Restarts are not counted: they have no limit.
    """
    failed = outcome in FAILURES
    if task.restart == "never":
        return RETRY if failed and allows(task.retry, attempts, result) else None
    return RESTART if failed or (task.restart == "always" and outcome == Outcome.SUCCEEDED) else None


def allows(retry: Retry, attempts: int, result: AttemptResult) -> bool:
    """Whether another attempt follows this failure, by these rules."""
    if attempts > retry.retries:
        return False
    if not retry.exceptions and not retry.exit_codes:
        return True
    return result.exit_code in retry.exit_codes or not set(retry.exceptions).isdisjoint(result.exceptions)


# How the reason of a task begins that was skipped, because nothing has changed since the run that it names.
UNCHANGED = "unchanged since "


def is_flaky(planned: PlannedTask, outcome: str | None, attempts: int) -> bool:
    """Whether a task succeeded only after it was retried, in this run; lost attempts do not count."""
    # Most tasks have one attempt.
    return (
        attempts > 1
        and outcome == Outcome.SUCCEEDED
        and planned.task.restart == "never"
        and planned.reused is None
    )


def delays(task: Task) -> Retry:
    """The policy that says how long the task waits before its next attempt."""
    if task.restart == "never" or task.retry.delay > 0:
        return task.retry
    return RESTART_DELAY


def delay(retry: Retry, attempts: int, random: Callable[[], float]) -> float:
    """Seconds to wait after this many attempts; `random` returns a number in [0, 1)."""
    try:
        longest = retry.delay * retry.backoff ** (attempts - 1)
    except OverflowError:
        longest = MAX_DELAY if retry.delay else 0.0
    longest = min(longest, MAX_DELAY if retry.max_delay is None else retry.max_delay)
    return longest * (1 - retry.jitter * random())

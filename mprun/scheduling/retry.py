"""Whether an attempt is followed by another, and how long after; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.jobfile.model import Retry
from mprun.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.jobfile.model import Task

# What a condition, a retry and fail-fast call a failure.
FAILURES = (Outcome.FAILED, Outcome.TIMED_OUT)

# Why there is another attempt: a failure is tried again, what serves is started again.
RETRY = "retry"
RESTART = "restart"

# How long what serves stays down, where its `retry` names no delay: long enough for one that
# fails at once not to fill the record, short enough for one that served to be missed by few.
RESTART_DELAY = Retry(delay=0.1, backoff=2.0, max_delay=60.0)
# An attempt that ran for this many seconds has served: after it the delays begin anew.
STABLE_AFTER = 10.0

# No delay grows beyond this many seconds, some thirty years.
LONGEST = 1e9


class AttemptResult(Frozen):
    """How an attempt ended, as far as policies ask: in words, and by what they match.

    `exceptions` are the names of the exception's class and of its bases, `unready` what
    `ready` has seen last of one that was not ready yet, `asked` whether it may have been
    sent a signal to end.
    """

    succeeded: bool
    reason: str
    exit_code: int | None = None
    exceptions: tuple[str, ...] = ()
    unready: str = ""
    asked: bool = True


def reason_for_another(task: Task, outcome: str, attempts: int, ending: AttemptResult) -> str | None:
    """`restart` or `retry`, where one of them wants another attempt after this many; else None.

    What is restarted is so however often it fails; its retries are not counted.
    """
    failed = outcome in FAILURES
    if task.restart == "never":
        return RETRY if failed and _allows(task.retry, attempts, ending) else None
    return RESTART if failed or (task.restart == "always" and outcome == Outcome.SUCCEEDED) else None


def _allows(retry: Retry, attempts: int, ending: AttemptResult) -> bool:
    if attempts > retry.retries:
        return False
    if not retry.exceptions and not retry.exit_codes:
        return True
    return ending.exit_code in retry.exit_codes or not set(retry.exceptions).isdisjoint(ending.exceptions)


def delays(task: Task) -> Retry:
    """What says how long the task waits before it starts again."""
    if task.restart == "never" or task.retry.delay > 0:
        return task.retry
    return RESTART_DELAY


def delay(retry: Retry, attempts: int, dice: Callable[[], float]) -> float:
    """Seconds to wait after this many attempts; `dice` gives a number from 0 up to 1."""
    try:
        longest = retry.delay * retry.backoff ** (attempts - 1)
    except OverflowError:
        longest = LONGEST if retry.delay else 0.0
    longest = min(longest, LONGEST if retry.max_delay is None else retry.max_delay)
    return longest * (1 - retry.jitter * dice())

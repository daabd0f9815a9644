"""Whether a failed attempt is followed by another, and how long after; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.job import Retry


# No delay grows beyond this many seconds, some thirty years.
LONGEST = 1e9


class Ending(Value):
    """How an attempt ended, as far as policies ask: in words, and by what they match.

    `exceptions` are the names of the exception's class and of its bases.
    """

    succeeded: bool
    reason: str
    exit_code: int | None = None
    exceptions: tuple[str, ...] = ()


def allows(retry: Retry, attempts: int, ending: Ending) -> bool:
    """Whether `retry` wants another attempt after this many, the last of which ended so."""
    if attempts > retry.retries:
        return False
    if not retry.exceptions and not retry.exit_codes:
        return True
    return ending.exit_code in retry.exit_codes or not set(retry.exceptions).isdisjoint(ending.exceptions)


def delay(retry: Retry, attempts: int, dice: Callable[[], float]) -> float:
    """Seconds to wait after this many attempts; `dice` gives a number from 0 up to 1."""
    try:
        longest = retry.delay * retry.backoff ** (attempts - 1)
    except OverflowError:
        longest = LONGEST
    longest = min(longest, LONGEST if retry.max_delay is None else retry.max_delay)
    return longest * (1 - retry.jitter * dice())

"""Retries starts for which the machine lacks processes, memory or descriptors, with backoff."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

# The errors of fork(2), and of calls that open a descriptor, that may soon be over.
RETRIED_ERRORS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

# The delay before the first retry, the longest one, and for how long starts are retried, in seconds.
FIRST_DELAY = 0.01
MAX_DELAY = 1.0
GIVE_UP_SECONDS = 30.0

# The most descriptors that the start of a process by another one opens at a time.
DESCRIPTORS_PER_START = 8


class StartBackoff:
    """When to retry a start that has failed for lack of resources; until then no other is tried."""

    def __init__(self) -> None:
        # Whether the last start has failed and is to be retried.
        self.is_active = False
        self._key: Hashable = None
        self._since = self._until = 0.0
        self._delay = FIRST_DELAY

    def should_retry(self, key: Hashable, error: int | None, now: float, others: bool = False) -> bool:
        """Whether a start that has failed with this errno is to be retried after a delay.

        It is, as long as there are `others` that run, because their end frees resources, and for
        GIVE_UP_SECONDS after that.
        """
        if error not in RETRIED_ERRORS:
            return False
        if key != self._key:
            self._key, self._since, self._delay = key, now, FIRST_DELAY
        elif others:
            self._since = now
        elif now - self._since >= GIVE_UP_SECONDS:
            return False
        self.is_active = True
        self._until = now + self._delay
        self._delay = min(2 * self._delay, MAX_DELAY)
        return True

    def cancelled(self, key: Hashable) -> None:
        """Stop waiting if it is this start, which was cancelled, that holds back the others."""
        if key == self._key:
            self.reset()

    def reset(self) -> None:
        """Stop waiting: a start has succeeded, or was given up."""
        self._key, self._until, self.is_active = None, 0.0, False

    def remaining(self, now: float) -> float:
        """For how many seconds nothing is to be started."""
        return max(0.0, self._until - now) if self.is_active else 0.0


def require_free_descriptors() -> None:
    """Fail now if the start of a process would run out of descriptors halfway.

    Halfway is too late: a fork server exits if its client leaves in the middle of a request.
    Raises OSError.
    """
    opened: list[int] = []
    try:
        for _ in range(DESCRIPTORS_PER_START):
            opened.append(os.dup(1))
    finally:
        for descriptor in opened:
            os.close(descriptor)

"""Starts that the machine has no room for, which are tried again before they are given up."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable

# What fork(2) and what takes a descriptor say when there is no room now, and may be soon.
WANTS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})

# How long to wait before the next try, at first and at most, and before giving up; seconds.
FIRST_DELAY = 0.01
LONGEST_DELAY = 1.0
PATIENCE = 30.0

# The most descriptors that the start of a process by another takes for a moment.
DESCRIPTORS = 8


class Shortage:
    """When to try again: a start that fails for want of room holds back those behind it."""

    def __init__(self) -> None:
        # Whether a start has failed, and was neither given up nor made good.
        self.lasts = False
        self._key: Hashable = None
        self._since = self._until = 0.0
        self._delay = FIRST_DELAY

    def postpones(self, key: Hashable, error: int | None, now: float, others: bool = False) -> bool:
        """Whether a start that failed with this error is to be tried again.

        As long as there are `others` that run, whose end will make room, and for a while beyond.
        """
        if error not in WANTS:
            return False
        if key != self._key:
            self._key, self._since, self._delay = key, now, FIRST_DELAY
        elif others:
            self._since = now
        elif now - self._since >= PATIENCE:
            return False
        self.lasts = True
        self._until = now + self._delay
        self._delay = min(2 * self._delay, LONGEST_DELAY)
        return True

    def cancelled(self, key: Hashable) -> None:
        """A start is not to be tried any more; it may be the one that holds back the others."""
        if key == self._key:
            self.over()

    def over(self) -> None:
        """A start has succeeded, or was given up."""
        self._key, self._until, self.lasts = None, 0.0, False

    def remaining(self, now: float) -> float:
        """How long nothing is to be started, in seconds."""
        return max(0.0, self._until - now) if self.lasts else 0.0


def reserve() -> None:
    """Fail here and now where the start of a process would run out of descriptors on its way.

    Halfway through it is too late: a fork server that is left in the middle of a request
    ends. Raises OSError.
    """
    held: list[int] = []
    try:
        for _ in range(DESCRIPTORS):
            held.append(os.dup(1))
    finally:
        for descriptor in held:
            os.close(descriptor)

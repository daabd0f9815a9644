"""What a launcher was asked to start and has not started, in the order in which it was asked."""

from __future__ import annotations

from collections import deque

from mprun.launcher.channel import attempt_succeeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mprun.launcher.channel import AttemptKey

    # A key, the fields of `worker.Assignment`, and the attempts that are to succeed before, each
    # in less than so many seconds.
    Request = tuple[AttemptKey, tuple[Any, ...], dict[AttemptKey, float | None]]


class StartQueue:
    """Requests, each with the attempts that are to succeed before it; `slots` are those that are free.

    Those of daemons take no place; `held` counts those that are to follow others.
    """

    __slots__ = ("_daemons", "held", "requests", "slots")

    def __init__(self) -> None:
        self.slots = 0
        self.requests: deque[Request] = deque()
        self._daemons = self.held = 0

    def __contains__(self, key: AttemptKey) -> bool:
        return any(request[0] == key for request in self.requests)

    def add(
        self, key: AttemptKey, todo: tuple[Any, ...], after: tuple[tuple[AttemptKey, float | None], ...] = ()
    ) -> None:
        """Take a request."""
        self.requests.append((key, todo, dict(after)))
        self._daemons += todo[3]
        self.held += bool(after)

    def put_back(self, key: AttemptKey, todo: tuple[Any, ...]) -> None:
        """It could not be started now, and is to be the first to be tried again."""
        self.requests.appendleft((key, todo, {}))
        self._daemons += todo[3]

    def take(self) -> tuple[AttemptKey, tuple[Any, ...]] | None:
        """Have the first request that can be carried out now: there is a place, or it needs none."""
        if self.slots <= 0 and not self._daemons:
            return None
        for number, (key, todo, after) in enumerate(self.requests):
            if not after and (self.slots > 0 or todo[3]):
                del self.requests[number]
                self._daemons -= todo[3]
                return key, todo
        return None

    def behind(self, before: AttemptKey) -> tuple[AttemptKey, tuple[Any, ...]] | None:
        """The first that is to follow this attempt."""
        return next(((key, todo) for key, todo, after in self.requests if before in after), None)

    def _remove(self, number: int) -> None:
        _, todo, after = self.requests[number]
        del self.requests[number]
        self._daemons -= todo[3]
        self.held -= bool(after)

    def cancel(self, key: AttemptKey) -> list[AttemptKey]:
        """Forget a request, if it is here, and all that were to follow it; their keys."""
        number = next((number for number, request in enumerate(self.requests) if request[0] == key), None)
        if number is None:
            return []
        self._remove(number)
        return [key, *self.ended(key)]

    def ended(
        self, key: AttemptKey, exit_code: int | None = None, *, asked: bool = False, seconds: float = 0.0
    ) -> list[AttemptKey]:
        """Note the end of an attempt; the keys of the requests that are dropped because of it.

        `exit_code` is None if the attempt was never started.
        """
        given_up: list[AttemptKey] = []
        for other, _, after in [*self.requests] if self.held else ():
            if key not in after:
                continue
            if attempt_succeeded(exit_code, asked=asked, seconds=seconds, timeout=after[key]):
                del after[key]
                self.held -= not after
            else:
                given_up += self.cancel(other)
        return given_up

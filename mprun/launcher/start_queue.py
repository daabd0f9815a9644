"""The requests to start an attempt that the launcher has not carried out yet, in their order."""

from __future__ import annotations

from collections import deque

from mprun.launcher.channel import AFTER, DAEMON, KEY, attempt_succeeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey, PackedStartRequest

    # A request, and what is left of its dependencies: each with its timeout in seconds.
    Entry = tuple[PackedStartRequest, dict[AttemptKey, float | None]]


class StartQueue:
    """Packed start requests, each held until the attempts in its `after` have succeeded.

    `free_slots` is how many more attempts may run; those of daemons take no slot. `held_count`
    is how many requests wait for other attempts.
    """

    __slots__ = ("_daemon_count", "entries", "free_slots", "held_count")

    def __init__(self) -> None:
        self.free_slots = 0
        self.entries: deque[Entry] = deque()
        self._daemon_count = self.held_count = 0

    def __contains__(self, key: AttemptKey) -> bool:
        return any(request[KEY] == key for request, _ in self.entries)

    def add(self, request: PackedStartRequest) -> None:
        """Append a request."""
        after = dict(request[AFTER])
        self.entries.append((request, after))
        self._daemon_count += request[DAEMON]
        self.held_count += bool(after)

    def put_back(self, request: PackedStartRequest) -> None:
        """Put a request that could not be carried out at the head, so that it is retried first."""
        self.entries.appendleft((request, {}))
        self._daemon_count += request[DAEMON]

    def take(self) -> PackedStartRequest | None:
        """Remove and return the first request that can be carried out now, if there is one."""
        if self.free_slots <= 0 and not self._daemon_count:
            return None
        for index, (request, after) in enumerate(self.entries):
            if not after and (self.free_slots > 0 or request[DAEMON]):
                del self.entries[index]
                self._daemon_count -= request[DAEMON]
                return request
        return None

    def first_after(self, key: AttemptKey) -> PackedStartRequest | None:
        """The first request that waits for this attempt, if there is one."""
        return next((request for request, after in self.entries if key in after), None)

    def _remove(self, index: int) -> None:
        request, after = self.entries[index]
        del self.entries[index]
        self._daemon_count -= request[DAEMON]
        self.held_count -= bool(after)

    def cancel(self, key: AttemptKey) -> list[AttemptKey]:
        """Drop a request, if it is here, and all that depend on it; the keys of what was dropped."""
        index = next((index for index, (request, _) in enumerate(self.entries) if request[KEY] == key), None)
        if index is None:
            return []
        self._remove(index)
        return [key, *self.attempt_ended(key)]

    def attempt_ended(
        self, key: AttemptKey, exit_code: int | None = None, *, asked: bool = False, seconds: float = 0.0
    ) -> list[AttemptKey]:
        """Note the end of an attempt; the keys of the requests that are dropped because of it.

        `exit_code` is None if the attempt was never started.
        """
        dropped: list[AttemptKey] = []
        for request, after in [*self.entries] if self.held_count else ():
            if key not in after:
                continue
            if attempt_succeeded(exit_code, asked=asked, seconds=seconds, timeout=after[key]):
                del after[key]
                self.held_count -= not after
            else:
                dropped += self.cancel(request[KEY])
        return dropped

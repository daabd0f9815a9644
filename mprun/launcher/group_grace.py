"""Keeps the end of an attempt open while others of its group, which were asked to end with it, have not.

A shell ends at once at a SIGTERM, but a server that it has started may have something to save.
"""

from __future__ import annotations

from time import monotonic

from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.attempt import Attempt

# The pause between two looks at all processes, in seconds; after a while, this share of the time since the
# last process of a task has ended, up to a limit: a look may take 10 ms.
MIN_PAUSE = 0.02
PAUSE_SHARE = 0.1
MAX_PAUSE = 0.25
_NEVER = float("inf")


class OpenEnds:
    """The `attempts` whose process has ended, but not its group; `next_look` is when that is looked at."""

    def __init__(self) -> None:
        self.attempts: set[Attempt] = set()
        self.next_look = _NEVER
        # When the last of them was added.
        self._since = 0.0

    def pause(self, now: float) -> float:
        """The seconds until the next look."""
        return max(0.0, self.next_look - now)

    def hold(self, attempt: Attempt) -> bool:
        """Keep an attempt until the rest of its group has ended; False if that has."""
        if not _alive({attempt.handle.pid}):
            return False
        self.attempts.add(attempt)
        self._since = monotonic()
        self.next_look = self._since + MIN_PAUSE
        return True

    def take_ended(self, now: float) -> list[Attempt]:
        """Remove and return the attempts whose group has ended."""
        alive = _alive({attempt.handle.pid for attempt in self.attempts})
        ended = [attempt for attempt in self.attempts if attempt.handle.pid not in alive]
        self.next_look = now + min(max(MIN_PAUSE, PAUSE_SHARE * (now - self._since)), MAX_PAUSE)
        for attempt in ended:
            self.take(attempt)
        return ended

    def take(self, attempt: Attempt) -> None:
        """Remove an attempt: what is left of its group is killed with the end of the attempt."""
        attempt.group_asked = False
        self.attempts.remove(attempt)
        if not self.attempts:
            self.next_look = _NEVER


def _alive(groups: set[int]) -> set[int]:
    """Those of these groups of which a process is alive.

    A resource tracker of multiprocessing does not count: it ends by itself, at its time.
    """
    members = [(pid, stat) for pid, stat in procfs.processes().items() if stat.group in groups]
    return {stat.group for pid, stat in members if stat.is_alive and not procfs.is_resource_tracker(pid)}

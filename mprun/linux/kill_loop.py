"""Kills processes again and again until no new ones are found.

Once is not enough: a process may fork just before it is killed, and the children of a killed
process get a new parent, at which they are found only then.
"""

from __future__ import annotations

from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeVar

    Found = TypeVar("Found", bound=Collection[int])


def kill_until_none_left(
    find: Callable[[], Found],
    kill: Callable[[Found], object],
    *,
    timeout: float,
    limit: float = 0.0,
    interval: float = 0.0,
) -> Found:
    """Call `kill` with what `find` returns, until that is empty or `timeout` seconds have passed.

    `find` returns pids, and `kill` is called at least once if there are any. `interval` is the
    pause after each call in seconds: a killed process takes a moment to end. With a `limit` in seconds
    the timeout begins again whenever something new is found, until that has passed. Returns what was
    found last, which is empty unless time ran out.
    """
    now = monotonic()
    end, last = now + timeout, now + max(timeout, limit)
    known: set[int] = set()
    while found := find():
        kill(found)
        now = monotonic()
        if limit and not known.issuperset(found):
            known.update(found)
            end = min(now + timeout, last)
        if now > end:
            break
        if interval:
            sleep(interval)
    return found

"""Lets requests that wait for resources of a worker take no slot of the engine's, nor wait forever.

The engine sends little more than there are slots for. Without more of them, many requests that wait for one
worker would leave the others idle.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from mprun.jobfile.host_needs import amounts

if TYPE_CHECKING:
    from mprun.executors.dask.placement import Placement
    from mprun.launcher.channel import AttemptKey

    class Owner(Protocol):
        """The bridge."""

        def tell_slots(self, more: int, reason: str = "") -> None: ...
        def refuse(self, key: AttemptKey, why: str) -> None: ...
        def place(self) -> None: ...


# For so many that wait, others are asked for: they are kept here meanwhile.
MAX_WAITING = 1000


class UnmetNeeds:
    """Looks after what the placement has not placed because of what it needs."""

    def __init__(self, placement: Placement, owner: Owner) -> None:
        self._placement = placement
        self._owner = owner
        self._told = 0
        # Since when no worker has had enough for a request.
        self._hopeless: dict[AttemptKey, float] = {}
        self._look: asyncio.TimerHandle | None = None

    def look(self, now: float, timeout: float) -> None:
        """Ask the engine for as many more requests as wait; refuse those that wait for `timeout` in vain."""
        hopeless = self._placement.hopeless
        self._hopeless = {key: self._hopeless.get(key, now) for key in hopeless}
        for key in hopeless:
            if now - self._hopeless[key] >= timeout:
                del self._hopeless[key]
                needed = amounts(dict(self._placement.needs_of(key)))
                self._owner.refuse(key, f"no host has had {needed} for {timeout:g}s")
        if self._hopeless and self._look is None:
            left = min(self._hopeless.values()) + timeout - now
            # A little later, so that it is due by then.
            self._look = asyncio.get_running_loop().call_later(max(0.0, left) + 0.01, self._look_again)
        waiting = min(self._placement.waiting, MAX_WAITING)
        if waiting != self._told:
            self._owner.tell_slots(waiting - self._told)
            self._told = waiting

    def _look_again(self) -> None:
        self._look = None
        self._owner.place()

"""Decides on which worker an attempt starts.

It has no clock and sends nothing: its callers do. Each worker has slots. While attempts are short, it gets a
few requests more than that (`AHEAD`): its launcher then starts the next one without asking. A request that
waits on one worker while another one is idle is taken back. Long attempts lose nothing by a message, and what
waits on a worker is lost with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.launcher.channel import AttemptKey

# How many requests more than it has slots a worker gets, for each slot.
AHEAD = 4
# Attempts that take less, in seconds, are short.
SHORT = 0.25
# How much the last attempt counts for how long they take.
_WEIGHT = 0.2
# A request that has waited for so long on a busy worker, in seconds, starts on an idle one.
STEAL_AFTER = 0.05


class Load:
    """What one worker has to do.

    `unstarted` has the time of each request, in the order in which they were sent, `running` the attempts,
    with whether they take a slot.
    """

    def __init__(self, slots: int) -> None:
        # How many it runs at once by itself, and its share of the slots of the run.
        self.capacity = self.slots = slots
        self.unstarted: dict[AttemptKey, float] = {}
        self.running: dict[AttemptKey, bool] = {}

    @property
    def taken(self) -> int:
        """How many requests it has that take a slot, or will."""
        return len(self.unstarted) + sum(self.running.values())


class Placement:
    """Places the requests of one run on the workers, which are named by any text."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        # The loads of workers that are lost, until they are given up.
        self._left: dict[str, Load] = {}
        # Where each attempt is that was placed and is not over.
        self.places: dict[AttemptKey, str] = {}
        self._queue: deque[AttemptKey] = deque()
        self._daemons: set[AttemptKey] = set()
        # Those that wait on a worker for the success of others.
        self._held: set[AttemptKey] = set()
        self._stolen: set[AttemptKey] = set()
        # How long attempts take, in seconds, the last ones most.
        self._duration = SHORT

    def note_duration(self, seconds: float) -> None:
        """An attempt has taken so long."""
        self._duration += _WEIGHT * (min(seconds, 10 * SHORT) - self._duration)

    def share(self, slots: dict[str, int], limit: int) -> None:
        """Share the slots of a run among workers that have so many each; any other one gets nothing more."""
        shares = dict.fromkeys((*self.loads, *slots), 0)
        left = min(limit, sum(slots.values()))
        while left > 0:
            for name in slots:
                if shares[name] < slots[name] and left > 0:
                    shares[name] += 1
                    left -= 1
        for name, share in shares.items():
            if name not in self.loads:
                self.loads[name] = Load(slots[name])
            self.loads[name].slots = share

    def submit(self, key: AttemptKey, after: Sequence[AttemptKey], *, daemon: bool, now: float) -> str | None:
        """Take a request. With `after` it is placed at once, where those are; None if that is impossible.

        "" if it is placed later: see `take`.
        """
        if daemon:
            self._daemons.add(key)
        if not after:
            self._queue.append(key)
            return ""
        places = {self.places.get(each) for each in after}
        (place,) = places if len(places) == 1 else (None,)
        if place is None:
            self._daemons.discard(key)
            return None
        self._held.add(key)
        self._place(key, place, now)
        return place

    def take(self, now: float) -> Iterator[tuple[str, AttemptKey]]:
        """Place the requests for which there is room."""
        while self._queue and (open_ones := [name for name, load in self.loads.items() if load.slots]):
            key = self._queue[0]
            name = min(open_ones, key=lambda one: self.loads[one].taken / self.loads[one].slots)
            load = self.loads[name]
            # With less than its capacity, its launcher would start them at once.
            is_whole = load.slots == load.capacity
            ahead = AHEAD if self._duration < SHORT and is_whole else 0
            if key not in self._daemons and load.taken >= load.slots * (1 + ahead):
                return
            self._queue.popleft()
            self._place(key, name, now)
            yield name, key

    def _place(self, key: AttemptKey, name: str, now: float) -> None:
        self.places[key] = name
        self.loads[name].unstarted[key] = now

    def withdraw(self, key: AttemptKey) -> bool:
        """Forget a request that is not placed yet; whether there was one."""
        try:
            self._queue.remove(key)
        except ValueError:
            self._stolen.discard(key)
            return False
        self._daemons.discard(key)
        return True

    def _load_of(self, name: str) -> Load:
        return self.loads[name] if name in self.loads else self._left[name]

    def handle_started(self, key: AttemptKey) -> None:
        """An attempt has a process."""
        load = self._load_of(self.places[key])
        load.unstarted.pop(key, None)
        load.running[key] = key not in self._daemons
        self._held.discard(key)
        self._stolen.discard(key)

    def handle_over(self, key: AttemptKey) -> None:
        """An attempt has ended, or was not started."""
        load = self._load_of(self.places.pop(key))
        load.unstarted.pop(key, None)
        load.running.pop(key, None)
        for keys in (self._held, self._stolen, self._daemons):
            keys.discard(key)

    def handle_taken_back(self, key: AttemptKey) -> bool:
        """A start was cancelled: whether it was to start elsewhere, where it is first in line then."""
        if key not in self._stolen:
            return False
        daemon = key in self._daemons
        self.handle_over(key)
        if daemon:
            self._daemons.add(key)
        self._queue.appendleft(key)
        return True

    def steal(self, now: float) -> tuple[str, AttemptKey] | None:
        """A request to take back from a busy worker, because another one is idle; None if there is none."""
        idle = sum(max(0, load.slots - load.taken) for load in self.loads.values())
        if self._queue or idle <= len(self._stolen):
            return None
        for name, load in self.loads.items():
            if load.taken <= load.slots:
                continue
            for key, sent in load.unstarted.items():
                if key not in self._held and key not in self._stolen and now - sent >= STEAL_AFTER:
                    self._stolen.add(key)
                    return name, key
        return None

    @property
    def waits(self) -> bool:
        """Whether a request waits on a worker: it may have to be taken back."""
        return any(load.unstarted for load in self.loads.values())

    def leave(self, name: str) -> None:
        """A worker gets nothing more, and what it has is not over."""
        if name in self.loads:
            self._left[name] = self.loads.pop(name)

    @property
    def left_behind(self) -> int:
        """How many slots are taken by what is not over on workers that have left."""
        return sum(load.taken for load in self._left.values())

    def lose(self, name: str) -> tuple[list[AttemptKey], list[AttemptKey]]:
        """A worker is given up: its attempts that were running, and those that were not known to be."""
        self.leave(name)
        load = self._left.pop(name)
        running, unstarted = list(load.running), list(load.unstarted)
        for key in (*running, *unstarted):
            del self.places[key]
            for keys in (self._held, self._stolen, self._daemons):
                keys.discard(key)
        return running, unstarted

"""Decides on which worker an attempt starts.

It has no clock and sends nothing: its callers do. Each worker has slots. While attempts are short, it gets a
few requests more than that (`AHEAD`): its launcher then starts the next one without asking. A request that
waits on one worker while another one is idle is taken back. Long attempts lose nothing by a message, and what
waits on a worker is lost with it.

A request may need some of a worker's resources. It counts against them from being sent until it is over, and
goes to no worker that has less to spare, also not ahead. While it waits for them, those that came after it do
not get them, but may go elsewhere.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mprun.jobfile.host_needs import fits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mprun.launcher.channel import AttemptKey

# How many requests more than it has slots a worker gets, for each slot.
AHEAD = 4
# Attempts that take less, in seconds, are short.
SHORT = 0.25
# How much the last attempt counts for how long they take.
_WEIGHT = 0.2
# A request that has waited for so long on a busy worker, in seconds, starts on an idle one.
STEAL_AFTER = 0.05
# How much a request needs of each resource, by name; () if nothing.
Needs = tuple[tuple[str, float], ...]


class Load:
    """What one worker has to do.

    `unstarted` has the time of each request, in the order in which they were sent, `running` the attempts,
    with whether they take a slot. `resources` is how much it has of each, `holders` what those of its
    attempts hold that need any.
    """

    def __init__(self, slots: int, resources: Mapping[str, float]) -> None:
        # How many it runs at once by itself, and its share of the slots of the run.
        self.capacity = self.slots = slots
        # Whether it gets anything more.
        self.is_open = True
        self.resources = resources
        self.unstarted: dict[AttemptKey, float] = {}
        self.running: dict[AttemptKey, bool] = {}
        self.holders: dict[AttemptKey, Needs] = {}

    @property
    def taken(self) -> int:
        """How many requests it has that take a slot, or will."""
        return len(self.unstarted) + sum(self.running.values())

    def has(self, needs: Needs) -> bool:
        """Whether it has enough at all."""
        return fits(dict(needs), self.resources)

    def can_spare(self, needs: Needs) -> bool:
        """Whether it has enough now."""
        free = dict(self.resources)
        for held in self.holders.values():
            for name, number in held:
                free[name] -= number
        return fits(dict(needs), free)


class Placement:
    """Places the requests of one run on the workers, which are named by any text."""

    def __init__(self) -> None:
        self.loads: dict[str, Load] = {}
        # The loads of workers that are lost, until they are given up.
        self._left: dict[str, Load] = {}
        # Where each attempt is that was placed and is not over.
        self.places: dict[AttemptKey, str] = {}
        # The requests that are not placed yet, by what they need, and their order among all of them.
        self._queues: dict[Needs, deque[AttemptKey]] = {(): deque()}
        self._order: dict[AttemptKey, int] = {}
        self._first = self._last = 0
        # What those need that are not over and need anything.
        self._needs: dict[AttemptKey, Needs] = {}
        # How much each worker has, and how many slots the run.
        self.resources: dict[str, Mapping[str, float]] = {}
        self._limit = 0
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
        self._limit = left = min(limit, sum(slots.values()))
        while left > 0:
            for name in slots:
                if shares[name] < slots[name] and left > 0:
                    shares[name] += 1
                    left -= 1
        for name, share in shares.items():
            if name not in self.loads:
                self.loads[name] = Load(slots[name], self.resources.get(name, {}))
            self.loads[name].slots = share
            self.loads[name].is_open = name in slots

    def submit(
        self,
        key: AttemptKey,
        after: Sequence[AttemptKey],
        *,
        daemon: bool,
        now: float,
        needs: Mapping[str, float] | None = None,
    ) -> str | None:
        """Take a request. With `after` it is placed at once, where those are; None if that is impossible.

        "" if it is placed later: see `take`.
        """
        if daemon:
            self._daemons.add(key)
        if needs and not after:
            self._needs[key] = tuple(sorted(needs.items()))
        if not after:
            self._last += 1
            self._enqueue(key, self._last)
            return ""
        # It is not known yet what its worker could spare then.
        places = {None} if needs else {self.places.get(each) for each in after}
        (place,) = places if len(places) == 1 else (None,)
        # A worker that is lost gets nothing more, though those are not over.
        if place is None or place not in self.loads:
            self._daemons.discard(key)
            return None
        self._held.add(key)
        self._place(key, place, now)
        return place

    def _enqueue(self, key: AttemptKey, order: int) -> None:
        queue = self._queues.setdefault(self._needs.get(key, ()), deque())
        self._order[key] = order
        if order > 0:
            queue.append(key)
        else:
            queue.appendleft(key)

    def take(self, now: float) -> Iterator[tuple[str, AttemptKey]]:
        """Place the requests for which there is room, in their order as far as there is."""
        # The needs that no worker can meet now, and what is kept for those that came first.
        in_vain: set[Needs] = set()
        kept: set[tuple[str, str]] = set()
        while True:
            queues = [queue for needs, queue in self._queues.items() if queue and needs not in in_vain]
            if not queues:
                return
            queue = min(queues, key=lambda one: self._order[one[0]])
            key = queue[0]
            needs = self._needs.get(key, ())
            fitting = self._fitting(needs, kept)
            name = self._room_for(key, fitting)
            if name is None and (not needs or (fitting and self._is_full())):
                # It lacks only a slot, and so would all that come after it.
                return
            if name is None:
                in_vain.add(needs)
                kept.update((one, what) for one in self._capable(needs) for what, _ in needs)
                continue
            queue.popleft()
            if needs and not queue:
                del self._queues[needs]
            del self._order[key]
            self._place(key, name, now)
            yield name, key

    def _capable(self, needs: Needs) -> list[str]:
        """The workers that have enough at all, and get something more."""
        return [name for name, load in self.loads.items() if load.is_open and load.has(needs)]

    def _fitting(self, needs: Needs, kept: Collection[tuple[str, str]]) -> list[str]:
        """The workers that have enough to spare."""
        if not needs:
            return [name for name, load in self.loads.items() if load.slots]
        return [
            name
            for name in self._capable(needs)
            if self.loads[name].can_spare(needs) and not any((name, what) in kept for what, _ in needs)
        ]

    def _is_full(self) -> bool:
        """Whether all slots of the run are taken, or will be."""
        return sum(min(load.taken, load.capacity) for load in self.loads.values()) >= self._limit

    def _room_for(self, key: AttemptKey, names: Sequence[str]) -> str | None:
        """The one of these workers that has most room for the request; None if there is none."""
        if not names:
            return None
        loads = self.loads
        # A worker with resources may have no share of few slots, but must be used if it alone has them.
        slots = {one: loads[one].capacity if key in self._needs else loads[one].slots for one in names}
        name = min(names, key=lambda one: loads[one].taken / slots[one])
        load = loads[name]
        if key in self._daemons:
            return name
        # With less than its capacity, its launcher would start them at once.
        is_whole = load.slots == load.capacity
        ahead = AHEAD if self._duration < SHORT and is_whole else 0
        if load.taken >= slots[name] * (1 + ahead):
            return None
        # The launcher starts at once what is within its capacity, with or without a share.
        return None if load.taken < load.capacity and self._is_full() else name

    def needs_of(self, key: AttemptKey) -> Needs:
        """What a request needs that is not over."""
        return self._needs.get(key, ())

    @property
    def waiting(self) -> int:
        """How many requests wait for what they need, and would take a slot."""
        daemons = sum(key in self._order and key in self._needs for key in self._daemons)
        return sum(len(queue) for needs, queue in self._queues.items() if needs) - daemons

    @property
    def hopeless(self) -> list[AttemptKey]:
        """The requests for which no worker has enough, while there are workers."""
        if not any(load.is_open for load in self.loads.values()):
            return []
        return [
            key
            for needs, queue in self._queues.items()
            if needs and queue and not self._capable(needs)
            for key in queue
        ]

    def _place(self, key: AttemptKey, name: str, now: float) -> None:
        self.places[key] = name
        self.loads[name].unstarted[key] = now
        if key in self._needs:
            self.loads[name].holders[key] = self._needs[key]

    def withdraw(self, key: AttemptKey) -> bool:
        """Forget a request that is not placed yet; whether there was one."""
        if self._order.pop(key, None) is None:
            self._stolen.discard(key)
            return False
        needs = self._needs.pop(key, ())
        self._queues[needs].remove(key)
        if needs and not self._queues[needs]:
            del self._queues[needs]
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
        load.holders.pop(key, None)
        self._needs.pop(key, None)
        for keys in (self._held, self._stolen, self._daemons):
            keys.discard(key)

    def handle_taken_back(self, key: AttemptKey) -> bool:
        """A start was cancelled: whether it was to start elsewhere, where it is first in line then."""
        if key not in self._stolen:
            return False
        daemon, needs = key in self._daemons, self._needs.get(key)
        self.handle_over(key)
        if daemon:
            self._daemons.add(key)
        if needs is not None:
            self._needs[key] = needs
        self._first -= 1
        self._enqueue(key, self._first)
        return True

    def steal(self, now: float) -> tuple[str, AttemptKey] | None:
        """A request to take back from a busy worker, because another one is idle; None if there is none."""
        idle = sum(max(0, load.slots - load.taken) for load in self.loads.values())
        # Those that wait for what they need do not use it.
        if self._queues[()] or idle <= len(self._stolen) or self._is_full():
            return None
        for name, load in self.loads.items():
            if load.taken <= load.slots:
                continue
            for key, sent in load.unstarted.items():
                is_free = key not in self._held and key not in self._stolen and now - sent >= STEAL_AFTER
                if is_free and self._could_start(key):
                    self._stolen.add(key)
                    return name, key
        return None

    def _could_start(self, key: AttemptKey) -> bool:
        """Whether an idle worker has what it needs."""
        needs = self._needs.get(key)
        return needs is None or any(
            load.taken < load.slots and load.is_open and load.can_spare(needs) for load in self.loads.values()
        )

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
            self._needs.pop(key, None)
            for keys in (self._held, self._stolen, self._daemons):
                keys.discard(key)
        return running, unstarted

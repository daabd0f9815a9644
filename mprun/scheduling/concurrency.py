"""How many tasks of a plan can run at the same time, by the graph, the tokens and the slots.

Two tasks never run together if one has to end before the other starts, if one needs the success and the
other one the failure of a third, or if there are too few tokens for both. Tasks with the same dependencies
and the same dependents are one kind. Up to `MAX_KINDS` kinds, the most that can run together are searched
for, and the answer is exact unless that takes too many steps; otherwise it is an upper bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.model import EXPANDED, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Protocol

    from mprun.jobfile.model import Needs, Task

    # For types alone: nothing looks at it during a run.
    class PlannedTask(Protocol):
        """What is asked of a planned task, which `plan.py` documents."""

        @property
        def task(self) -> Task: ...

        @property
        def skipped(self) -> bool: ...

        @property
        def reused(self) -> object: ...

        @property
        def needs(self) -> Needs: ...

        @property
        def needed_by(self) -> Needs: ...


MAX_KINDS = 200
MAX_STEPS = 1000

# The conditions that hold while a task runs, and those that hold if it was skipped and has never run.
_WHILE_RUNNING = ("started", "ready", EXPANDED)
_WITHOUT_RUNNING = ("finished", EXPANDED)


class _Kind:
    """Tasks that are alike; `count` is how many of them can run together, if nothing else runs.

    `number` is the number of one of them; the bits of `apart` are the kinds that never run with it.
    """

    __slots__ = ("apart", "claims", "count", "daemon", "number")

    def __init__(self, number: int, daemon: bool, claims: tuple[tuple[str, int], ...]) -> None:
        self.number = number
        self.daemon = daemon
        self.claims = claims
        self.count = 0
        self.apart = 0


def most_together(tasks: Sequence[PlannedTask], slots: int, tokens: Mapping[str, int]) -> int:
    """The highest number of tasks that can run at the same time, daemons included; at least 1."""
    running = {n for n, planned in enumerate(tasks) if not planned.skipped and planned.reused is None}
    kinds, kind_of = _kinds(tasks, running, slots, tokens)
    limit = max(1, _upper_bound(tasks, running, slots, tokens))
    if limit == 1 or len(kinds) > MAX_KINDS:
        return limit
    order = _starting_order(tasks, [kind.number for kind in kinds], kind_of)
    _set_apart_by_order(tasks, kinds, kind_of, order)
    _set_apart_by_outcome(tasks, kinds, kind_of, order)
    _set_apart_by_tokens(kinds, tokens)
    return max(1, _Search(kinds, slots, tokens).run(limit))


def _kinds(
    tasks: Sequence[PlannedTask], running: set[int], slots: int, tokens: Mapping[str, int]
) -> tuple[list[_Kind], dict[int, int]]:
    """The kinds of the tasks that will run, and the index of each task's kind; stops above `MAX_KINDS`."""
    kinds: list[_Kind] = []
    kind_of: dict[int, int] = {}
    found: dict[object, int] = {}
    for number in sorted(running):
        planned = tasks[number]
        claims = tuple(sorted(planned.task.resources.items()))
        key = (planned.needs, planned.needed_by, planned.task.daemon, claims)
        index = found.setdefault(key, len(kinds))
        if index == len(kinds):
            if index > MAX_KINDS:
                break
            kinds.append(_Kind(number, planned.task.daemon, claims))
        kind_of[number] = index
        # How many items a list from a task result has is known only during the run.
        kinds[index].count += slots if planned.task.foreach is not None else 1
    for kind in kinds:
        limits = [tokens[name] // claimed for name, claimed in kind.claims]
        kind.count = min([kind.count, *limits] if kind.daemon else [kind.count, slots, *limits])
    return kinds, kind_of


def _starting_order(
    tasks: Sequence[PlannedTask], numbers: list[int], kind_of: Mapping[int, int]
) -> list[int]:
    """The indices of the kinds, each after those that it depends on."""
    before = [{kind_of[need] for need, _ in tasks[number].needs if need in kind_of} for number in numbers]
    after: list[list[int]] = [[] for _ in numbers]
    for index, needs in enumerate(before):
        for need in needs:
            after[need].append(index)
    waiting = [len(needs) for needs in before]
    order = [index for index, count in enumerate(waiting) if count == 0]
    for index in order:
        for later in after[index]:
            waiting[later] -= 1
            if waiting[later] == 0:
                order.append(later)
    return order


def _needs(planned: PlannedTask, kind_of: Mapping[int, int]) -> Iterator[tuple[int, str]]:
    return ((kind_of[need], condition) for need, condition in planned.needs if need in kind_of)


def _set_apart_by_order(
    tasks: Sequence[PlannedTask], kinds: list[_Kind], kind_of: Mapping[int, int], order: list[int]
) -> None:
    """What has to end before a task starts never runs with it."""
    # The kinds that have ended when a task of this kind starts, and when it has its outcome. A task
    # may be skipped as soon as one of its dependencies has ended.
    ended, ended_with = [0] * len(kinds), [0] * len(kinds)
    for index in order:
        skipped_after = -1
        for need, condition in _needs(tasks[kinds[index].number], kind_of):
            if condition not in _WHILE_RUNNING:
                ended[index] |= 1 << need
            ended[index] |= ended_with[need] if condition == "finished" else 0
            ended[index] |= 0 if condition in _WITHOUT_RUNNING else ended[need]
            skipped_after &= ended_with[need]
        ended_with[index] = ended[index] & skipped_after | 1 << index
    for index, kind in enumerate(kinds):
        kind.apart |= ended[index]
        for before in _bits(ended[index]):
            kinds[before].apart |= 1 << index


def _set_apart_by_outcome(
    tasks: Sequence[PlannedTask], kinds: list[_Kind], kind_of: Mapping[int, int], order: list[int]
) -> None:
    """What runs only after a success never runs with what runs only after a failure of the same task."""
    succeeded, failed = [0] * len(kinds), [0] * len(kinds)
    for index in order:
        for need, condition in _needs(tasks[kinds[index].number], kind_of):
            task = tasks[kinds[need].number].task
            if condition == "failed":
                failed[index] |= 1 << need
            elif condition == "succeeded" or (condition == PASSED and not task.allow_failure):
                succeeded[index] |= 1 << need
            if condition not in _WITHOUT_RUNNING and task.when is True and not task.inherited_conditions:
                # It has run, so what it needed has happened.
                succeeded[index] |= succeeded[need]
                failed[index] |= failed[need]
    for index, kind in enumerate(kinds):
        for other in range(len(kinds)) if failed[index] else ():
            if failed[index] & succeeded[other]:
                kind.apart |= 1 << other
                kinds[other].apart |= 1 << index


def _set_apart_by_tokens(kinds: list[_Kind], tokens: Mapping[str, int]) -> None:
    """Tasks that claim more of a token together than there is never run together."""
    claiming: dict[tuple[tuple[str, int], ...], int] = {}
    for index, kind in enumerate(kinds):
        if kind.claims:
            claiming[kind.claims] = claiming.get(kind.claims, 0) | 1 << index
    for kind in kinds:
        claimed = dict(kind.claims)
        for claims, others in claiming.items() if claimed else ():
            if any(claimed.get(name, 0) + count > tokens[name] for name, count in claims):
                kind.apart |= others


def _bits(mask: int) -> Iterator[int]:
    """The indices of the bits of a mask."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class _Search:
    """Searches for the most tasks that can run together: branch and bound over the kinds.

    Kinds of which at most one can run are in one party, so the number of tasks from a set of kinds is at most
    the sum of the largest kinds of each party.
    """

    def __init__(self, kinds: list[_Kind], slots: int, tokens: Mapping[str, int]) -> None:
        # The largest first: a good answer is found early, and bounds the rest.
        self._kinds = sorted(range(len(kinds)), key=lambda index: -kinds[index].count)
        self._all = kinds
        self._slots = slots
        self._tokens = dict(tokens)
        self._parties = [self._summary(members) for members in self._divide()]
        self._best = self._steps = self._limit = 0

    def _summary(self, members: int) -> tuple[int, int, int, int]:
        """A party: the kinds that take a slot and their largest count, and the same for daemons."""
        takers = daemons = 0
        for index in _bits(members):
            if self._all[index].daemon:
                daemons |= 1 << index
            else:
                takers |= 1 << index
        largest = [
            max((self._all[index].count for index in _bits(mask)), default=0) for mask in (takers, daemons)
        ]
        return takers, largest[0], daemons, largest[1]

    def _divide(self) -> list[int]:
        parties: list[int] = []
        for index in self._kinds:
            apart = self._all[index].apart
            for place, members in enumerate(parties):
                if members & ~apart == 0:
                    parties[place] |= 1 << index
                    break
            else:
                parties.append(1 << index)
        return parties

    def run(self, limit: int) -> int:
        """The most, or an upper bound if the search takes too many steps; it is at most `limit`."""
        everyone = (1 << len(self._all)) - 1
        self._limit = min(limit, self._bound(everyone, self._slots))
        self._extend(everyone, 0, self._slots, self._tokens)
        return self._best if self._steps < MAX_STEPS else self._limit

    def _bound(self, candidates: int, slots: int) -> int:
        """At least as many as can run of these kinds, with so many slots."""
        sum_of_takers = sum_of_daemons = 0
        for takers, most_takers, daemons, most_daemons in self._parties:
            if candidates & takers:
                sum_of_takers += most_takers
            if candidates & daemons:
                sum_of_daemons += most_daemons
        return min(sum_of_takers, slots) + sum_of_daemons

    def _extend(self, candidates: int, taken: int, slots: int, tokens: dict[str, int]) -> None:
        self._best = max(self._best, taken)
        for index in self._kinds:
            if not candidates >> index & 1:
                continue
            if self._best >= self._limit or self._steps >= MAX_STEPS:
                return
            self._steps += 1
            if taken + self._bound(candidates, slots) <= self._best:
                return
            candidates &= ~(1 << index)
            kind = self._all[index]
            left = [tokens[name] // claimed for name, claimed in kind.claims]
            most = min([kind.count, *left] if kind.daemon else [kind.count, slots, *left])
            # Fewer of them may leave tokens for more of others.
            for count in range(most, 0, -1) if kind.claims else [most] if most else []:
                rest = {**tokens, **{name: tokens[name] - count * claimed for name, claimed in kind.claims}}
                free = slots if kind.daemon else slots - count
                self._extend(candidates & ~kind.apart, taken + count, free, rest)


def _upper_bound(
    tasks: Sequence[PlannedTask], running: set[int], slots: int, tokens: Mapping[str, int]
) -> int:
    """At least as many as can run together: by slots, tokens, and chains of tasks that follow each other."""
    daemons = sum(tasks[number].task.daemon for number in running)
    lists = any(tasks[number].task.foreach is not None for number in running)
    claimed: dict[str, tuple[int, int]] = {}
    free = 0
    for number in running:
        claims = tasks[number].task.resources
        if not claims:
            free += 1
            continue
        # One token of each task is enough for a bound.
        name, count = next(iter(claims.items()))
        tasks_before, least = claimed.get(name, (0, count))
        claimed[name] = tasks_before + 1, min(least, count)
    by_tokens = free + sum(min(count, tokens[name] // least) for name, (count, least) in claimed.items())
    by_slots = slots + daemons
    return by_slots if lists else min(by_slots, by_tokens, _chains(tasks, running))


def _chains(tasks: Sequence[PlannedTask], running: set[int]) -> int:
    """The number of chains into which the tasks are divided: in each of them, one runs after the other."""
    followed: set[int] = set()
    for number in running:
        for need, condition in tasks[number].needs:
            follows = condition not in _WHILE_RUNNING and condition not in _WITHOUT_RUNNING
            if follows and need in running and need not in followed:
                followed.add(need)
                break
    return len(running) - len(followed)

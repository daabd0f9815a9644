"""The plan of a merged run: the tasks of all shards in one order, and what each shard knows of them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from mprun.record import events
from mprun.record.packed_details import pack_pairs, pack_values
from mprun.record.task_details import TaskDetails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mprun.record.shards import ShardRun


def in_order(lists: Iterable[Sequence[str]]) -> list[str]:
    """The names of all lists, once each, those of each list in its order.

    The lists are parts of one list, so names after which nothing is known follow each other in turn.
    """
    afters: dict[str, set[str]] = {}
    ranks: dict[str, tuple[int, int]] = {}
    for number, names in enumerate(lists):
        for place, name in enumerate(names):
            ranks.setdefault(name, (place, number))
            before = afters.setdefault(name, set())
            if place:
                before.add(names[place - 1])
    left = {name: len(before) for name, before in afters.items()}
    nexts: dict[str, list[str]] = {}
    for name, before in afters.items():
        for one in before:
            nexts.setdefault(one, []).append(name)
    ready = [(ranks[name], name) for name, count in left.items() if not count]
    heapq.heapify(ready)
    found: list[str] = []
    while ready:
        _, name = heapq.heappop(ready)
        found.append(name)
        for after in nexts.get(name, ()):
            left[after] -= 1
            if not left[after]:
                heapq.heappush(ready, (ranks[after], after))
    # Shards of different files may contradict each other.
    return [*found, *(name for name in afters if left[name] > 0)]


def plan_events(shards: Sequence[ShardRun], names: list[str], time: str, run: str) -> Iterator[events.Event]:
    """The plan, and what tasks were expanded to."""
    parts: dict[str, list[str]] = {"": names}
    for group in dict.fromkeys(group for shard in shards for group in shard.state.expansions()):
        parts[group] = in_order([shard.state.expansions().get(group, []) for shard in shards])
    numbers: dict[str, int] = {}
    for part in parts.values():
        for name in part:
            numbers.setdefault(name, len(numbers))
    details = [shard.details for shard in shards]
    owners = {name: one for one in reversed(details) for name in one.numbers}
    first = 0
    for group, part in parts.items():
        needs = [_needs(name, owners[name], numbers) if name in owners else () for name in part]
        yield events.TasksPlanned(
            time=time,
            run=run,
            group=group,
            tasks=tuple(part),
            items={
                name: shard.state.items[name]
                for shard in shards
                for name in part
                if name in shard.state.items
            },
            needs=tuple(needs) if any(needs) else (),
            resources=pack_values(first, [_values(name, owners, TaskDetails.tokens) for name in part]),
            env=pack_values(first, [_values(name, owners, TaskDetails.variables) for name in part]),
        )
        first += len(part)


def _values(name: str, owners: Mapping[str, TaskDetails], read: Callable[[TaskDetails, int], Any]) -> Any:
    return read(owners[name], owners[name].numbers[name]) if name in owners else ()


def _needs(name: str, owner: TaskDetails, numbers: Mapping[str, int]) -> tuple[Any, ...]:
    pairs = owner.own_needs(owner.numbers[name])
    named = ((owner.names[number], condition) for number, condition in pairs)
    return pack_pairs(sorted((numbers[need], condition) for need, condition in named if need in numbers))

"""Divides the selected tasks of a job among shards: runs on machines that know nothing of each other."""

from __future__ import annotations

import hashlib
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import Job
    from mprun.scheduling.estimates import Estimates

KINDS = ("slice", "hash", "time")
# More shards than any CI service has.
MAX_SHARDS = 10_000


class Partition(Frozen):
    """How tasks are divided: shard `number`, from 1, of `of` shards.

    `kind` is one of KINDS. `estimates` are the expected durations for `time`; without any, the tasks are
    divided as with `slice`. `names` has the tasks of this shard if an earlier run has divided them, and
    `digest` the digest of that division.
    """

    kind: str
    number: int
    of: int
    estimates: Estimates | None = None
    names: frozenset[str] | None = None
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}/{self.of}"


class Shard(Frozen):
    """A shard: the indices of its tasks in the job, in ascending order.

    `seconds` is how long they take one after the other, None if that is not known.
    """

    tasks: tuple[int, ...]
    seconds: float | None = None


class Division(Frozen):
    """The tasks of a job, divided.

    `shards` has all shards, in order; it is empty if an earlier run has divided the tasks. `selected` has
    the tasks of this shard, `of` is how many tasks were divided. `digest` is the same for shards that
    divided the same tasks in the same way.
    """

    partition: Partition
    shards: tuple[Shard, ...]
    selected: tuple[int, ...]
    of: int
    digest: str

    @property
    def options(self) -> dict[str, str]:
        """What the record keeps, beside the options of the run."""
        return {"partition": str(self.partition), "division": self.digest}


def parse_partition(text: str) -> Partition:
    """The partition that a text such as `slice:2/5` describes. Raises UsageError."""
    kind, _, part = text.partition(":")
    number, _, of = part.partition("/")
    if kind in KINDS and _is_number(number) and _is_number(of) and 1 <= int(number) <= int(of) <= MAX_SHARDS:
        return Partition(kind=kind, number=int(number), of=int(of))
    raise UsageError(
        f"{quote(text)} is not a partition; write the shard and how many there are, such as `slice:2/5`: "
        f"{', '.join(KINDS[:-1])} or {KINDS[-1]}, and 1/5 to 5/5"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_SHARDS))


def divide(job: Job, selection: Sequence[int] | None, partition: Partition) -> Division:
    """Divide the selected tasks, whose indices are ascending; None selects all.

    Tasks on which no other one depends are divided, and each takes along what it depends on, so that no task
    is left out. Daemons among them run in each shard that has any other task.
    """
    chosen = range(len(job.tasks)) if selection is None else selection
    if partition.names is not None:
        own = tuple(number for number in chosen if job.tasks[number].name in partition.names)
        return Division(partition=partition, shards=(), selected=own, of=len(chosen), digest=partition.digest)
    among = set(chosen)
    needs = {number: tuple(need for need, _ in job.needs[number] if need in among) for number in chosen}
    needed = {need for before in needs.values() for need in before}
    last = [number for number in chosen if number not in needed]
    if any(job.tasks[number].task.whole is not None for number in chosen):
        last = _with_wholes(job, needs, last)
    daemons = [number for number in last if job.tasks[number].task.daemon]
    units = [number for number in last if not job.tasks[number].task.daemon]
    if not units:
        units, daemons = daemons, []
    names = {number: job.tasks[number].name for number in chosen}
    # A service runs as long as what it serves.
    costs = {
        number: partition.estimates.duration(name)
        if partition.estimates is not None and not job.tasks[number].task.daemon
        else 0.0
        for number, name in names.items()
    }
    if partition.kind == "hash":
        parts: list[list[int]] = [[] for _ in range(partition.of)]
        for number in units:
            parts[_hash(names[number]) % partition.of].append(number)
    elif partition.kind == "time" and partition.estimates is not None:
        parts = _LongestFirst(needs, costs, partition.of).parts(units)
    else:
        parts = [units[place :: partition.of] for place in range(partition.of)]
    shards = []
    for part in parts:
        tasks = tuple(sorted(with_needs([*part, *daemons] if part else [], needs)))
        seconds = None if partition.estimates is None else sum(costs[number] for number in tasks)
        shards.append(Shard(tasks=tasks, seconds=seconds))
    return Division(
        partition=partition,
        shards=tuple(shards),
        selected=shards[partition.number - 1].tasks,
        of=len(chosen),
        digest=_digest([[names[number] for number in shard.tasks] for shard in shards]),
    )


def _with_wholes(job: Job, needs: dict[int, tuple[int, ...]], last: list[int]) -> list[int]:
    """Let the tasks of a recipe that is taken as one need each other; the tasks that are divided then."""
    groups: dict[str, list[int]] = {}
    group_of: dict[int, str] = {}
    for number in needs:
        whole = job.tasks[number].task.whole
        if whole is not None:
            groups.setdefault(whole.name, []).append(number)
            group_of[number] = whole.name
    needed = {
        group_of[need]
        for number, before in needs.items()
        for need in before
        if need in group_of and group_of.get(number) != group_of[need]
    }
    for members in groups.values():
        for number in members:
            needs[number] = tuple(dict.fromkeys((*needs[number], *members)))
    firsts = [
        next((number for number in members if not job.tasks[number].task.daemon), members[0])
        for name, members in groups.items()
        if name not in needed
    ]
    return sorted([*(number for number in last if number not in group_of), *firsts])


def with_needs(tasks: Sequence[int], needs: dict[int, tuple[int, ...]]) -> set[int]:
    """The tasks, and all that they depend on."""
    found = set(tasks)
    pending = list(tasks)
    while pending:
        for need in needs[pending.pop()]:
            if need not in found:
                found.add(need)
                pending.append(need)
    return found


def _hash(name: str) -> int:
    # Not `hash`, which differs from process to process.
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8])


def _digest(shards: Sequence[Sequence[str]]) -> str:
    """Of names, which have no line feeds."""
    text = "\n\n".join("\n".join(names) for names in shards)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _LongestFirst:
    """Gives the longest task to the shard that has the least to do with it.

    What a task depends on counts once in a shard, so a shard that has it already may be better. The result
    is at most 4/3 of the best possible (Graham 1969) if nothing depends on anything.
    """

    def __init__(self, needs: dict[int, tuple[int, ...]], costs: dict[int, float], of: int) -> None:
        self._needs = needs
        self._costs = costs
        self._parts: list[list[int]] = [[] for _ in range(of)]
        self._has: list[set[int]] = [set() for _ in range(of)]
        self._loads = [0.0] * of
        self._heap = [(0.0, 0, shard) for shard in range(of)]
        heapify(self._heap)
        # By the needs that tasks have in common: all of them, and the shards that have them already.
        self._closures: dict[tuple[int, ...], set[int]] = {}
        self._shards: dict[tuple[int, ...], list[int]] = {}

    def parts(self, units: Sequence[int]) -> list[list[int]]:
        """The units of each shard."""
        order = sorted(units, key=lambda unit: (-self._cost(unit), unit))
        for unit in order:
            shard, load = self._place(unit)
            needs = self._needs[unit]
            self._parts[shard].append(unit)
            if needs:
                self._has[shard] |= self._closures[needs]
                if shard not in self._shards.setdefault(needs, []):
                    self._shards[needs].append(shard)
            self._loads[shard] = load
            # Of equal loads, the shard with fewer tasks, so that tasks without a duration are spread.
            heappush(self._heap, (load, len(self._parts[shard]), shard))
        return self._parts

    def _cost(self, unit: int) -> float:
        needs = self._needs[unit]
        if not needs:
            return self._costs[unit]
        if needs not in self._closures:
            self._closures[needs] = with_needs(needs, self._needs)
        return self._costs[unit] + sum(self._costs[need] for need in self._closures[needs])

    def _place(self, unit: int) -> tuple[int, float]:
        """The shard for a unit, and what it has to do then."""
        while True:
            load, count, least = self._heap[0]
            if load == self._loads[least] and count == len(self._parts[least]):
                break
            # It has got more since.
            heappop(self._heap)
        own, needs = self._costs[unit], self._needs[unit]
        if not needs:
            return least, load + own
        missing = sum(self._costs[need] for need in self._closures[needs] - self._has[least])
        if missing and (others := self._shards.get(needs)):
            other = min(others, key=lambda shard: (self._loads[shard], shard))
            if self._loads[other] <= load + missing:
                return other, self._loads[other] + own
        return least, load + missing + own

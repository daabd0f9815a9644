"""What a row of the table is, how much it measures, and how it is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks import peers
from benchmarks.figures import Goal, RowResult, figure, judge
from benchmarks.measuring import Measure, interleave, seconds
from benchmarks.peers import OURS
from benchmarks.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of each.

    `seconds` is how long the sleepers are watched. `starts` is how many rounds of start-up count as one,
    because it is the shortest and varies most.
    """

    tasks: int = 1_000
    many_tasks: int = 10_000
    slow_tasks: int = 100
    chain: int = 500
    heavy: int = 200
    slow_heavy: int = 20
    results: int = 200
    graph: int = 3_000
    shells: int = 500
    items: int = 40_000
    planned: int = 100_000
    long: int = 100_000
    lines: int = 1_000_000
    sleepers: int = 100
    seconds: float = 5
    starts: int = 3


QUICK = Sizes(
    tasks=20,
    many_tasks=40,
    slow_tasks=4,
    chain=5,
    heavy=4,
    slow_heavy=2,
    results=9,
    graph=20,
    shells=4,
    items=40,
    planned=1_000,
    long=400,
    lines=5_000,
    sleepers=4,
    seconds=0.2,
    starts=1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: sides that are measured in turn, figures in `unit`, goals.

    A figure has the name of its side, unless `units` names others. `bases` are the sides of which the
    others are multiples. `repeat` multiplies the rounds, `rounds` is their maximum.
    """

    name: str
    title: str
    unit: str
    sides: Mapping[str, Measure]
    bases: tuple[str, ...] = (OURS,)
    goals: tuple[Goal, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    rounds: int = 99
    warm_up: bool = True


def measure(row: Row, rounds: int) -> RowResult:
    """Run the rounds of one row."""
    missing = {peer.name: "not here" for peer in peers.PEERS if peer.version() is None}
    sides = {name: side for name, side in row.sides.items() if name not in missing}
    begun = time.perf_counter()
    measured, failed = interleave(sides, min(rounds * row.repeat, row.rounds), row.warm_up and rounds > 1)
    gaps = {name: why for name, why in missing.items() if name in row.sides} | failed
    return RowResult(
        name=row.name,
        title=row.title,
        bases=list(row.bases),
        figures=[
            figure(name, row.unit, row.notes.get(name, ""), row.bases, measured)
            if name not in row.units
            else figure(name, row.units[name], "", (), measured)
            for name in measured
        ],
        gaps=[{"name": name, "why": why} for name, why in gaps.items()],
        goals=[judge(goal, measured) for goal in row.goals],
        taken=time.perf_counter() - begun,
    )


def whole(name: str, command: Sequence[str], place: Place, times: float = 1) -> Measure:
    """The time of a command, in seconds, or in a unit of which a second has so many."""
    return lambda: {name: seconds(command, place) * times}

"""Compares two results: which figures have moved beyond the spread of their rounds, and which goals."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.figures import Results, RowResult, ratios
from benchmarks.table import WIDTH, number, short

# What a comparison looks at: the row, the figure, and its unit, or the base of which it is a multiple.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and how far they spread.

    `low` and `high` are the lowest and the highest, of ten rounds and more without a tenth at each end.
    """

    median: float
    low: float
    high: float
    rounds: int


def spread(values: list[float]) -> Spread:
    """The spread of the values of one or more rounds."""
    ordered, left_out = sorted(values), len(values) // 10
    return Spread(statistics.median(values), ordered[left_out], ordered[-1 - left_out], len(values))


def has_moved(before: Spread, after: Spread) -> bool | None:
    """Whether the spreads have nothing in common; None if one round has none."""
    if min(before.rounds, after.rounds) < 2:
        return None
    return after.low > before.high or after.high < before.low


def spreads(results: Results) -> dict[Key, Spread]:
    """What can be compared with another run, perhaps on another machine.

    Of a row with bases these are multiples; milliseconds only where there is nothing to divide them by.
    """
    return {
        (row["name"], name, unit): spread(values)
        for row in results["rows"]
        for name, unit, values in of_row(row)
        if values
    }


def of_row(row: RowResult) -> Iterator[tuple[str, str, list[float]]]:
    """Name, unit and rounds of each figure of a row."""
    values = {figure["name"]: figure["values"] for figure in row["figures"]}
    for figure in row["figures"]:
        name, bases = figure["name"], [base for base in row["bases"] if base in figure["ratios"]]
        for base in bases:
            if base != name and base in values:
                yield name, "× " + short(base), ratios(values[name], values[base])
        if not bases:
            yield name, figure["unit"], values[name]


def lines(before: Results, after: Results) -> Iterator[str]:
    """The table of what has moved, what could not be compared, and the goals that were met or are now."""
    yield "beside the earlier results:"
    yield from doubts(before, after)
    old, new = spreads(before), spreads(after)
    both = [key for key in new if key in old]
    judged = {key: has_moved(old[key], new[key]) for key in both}
    moved = [key for key in both if judged[key]]
    for key in moved:
        yield line(key, old[key], new[key])
    yield f"  {len(moved)} of {len(both)} figures have moved beyond the spread of their rounds"
    if single := sum(one is None for one in judged.values()):
        yield f"  not judged, because one round has no spread: {single}"
    for title, alone in (("earlier", old.keys() - new.keys()), ("now", new.keys() - old.keys())):
        if alone:
            rows = dict.fromkeys(row for row, _, _ in (*old, *new) if any(key[0] == row for key in alone))
            yield f"  measured only {title}: {len(alone)} figures of {', '.join(rows)}"
    yield from goals(before, after)


def doubts(before: Results, after: Results) -> Iterator[str]:
    """Why the two may differ for other reasons."""
    for what, old in before["machine"].items():
        if (new := after["machine"].get(what)) != old:
            yield f"  warning: another {what}: {old} earlier, {new} now"
    for title, results in (("earlier", before), ("now", after)):
        if results["load"] > 0.5:
            yield f"  warning: the machine had other work to do {title}: load {results['load']:.1f}"


def line(key: Key, before: Spread, after: Spread) -> str:
    """A figure that has moved: both medians, each with its spread, and the quotient of the medians."""
    row, figure, unit = key
    shown = (
        f"{number(side.median):>10} ({number(side.low)} to {number(side.high)})" for side in (before, after)
    )
    times = f"{number(after.median / before.median)} ×" if before.median else "–"
    old, new = shown
    return f"  {row:<14}{figure:<{WIDTH}}{unit:<16}{old:<32}{new:<32}{times:>10}"


def goals(before: Results, after: Results) -> Iterator[str]:
    """The goals of both that are met in one of them."""
    old, new = (
        {(row["name"], goal["goal"]): goal["met"] for row in results["rows"] for goal in row["goals"]}
        for results in (before, after)
    )
    for (row, goal), met in new.items():
        if met is not None and old.get((row, goal)) == (not met):
            yield f"  {'now met' if met else 'NO LONGER MET'}: {row}: {goal}"

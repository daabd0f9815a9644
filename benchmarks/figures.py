"""Makes medians, ratios and verdicts of measurements; without a clock or a process."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a row should show.

    With `against`, the figure is a ratio: `most` times as long as each of them, or `least` times as fast
    as each of them; else it is the value of `ours`, at `most`. The worst of several counts.
    """

    text: str
    ours: str = "mprun"
    against: tuple[str, ...] = ()
    most: float | None = None
    least: float | None = None


class Figure(TypedDict):
    """One line of a row: the median of its rounds, and how many times as long as each base.

    `unit` applies to `median`, `low`, `high` and `values`; `ratios` are medians of the rounds' ratios.
    """

    name: str
    unit: str
    median: float
    low: float
    high: float
    values: list[float]
    ratios: dict[str, float]
    note: str


class Verdict(TypedDict):
    """A goal beside the measurement; `figure` and `met` are None if a side is missing.

    `against` is the closest side.
    """

    goal: str
    most: float | None
    least: float | None
    figure: float | None
    against: str
    met: bool | None


class Gap(TypedDict):
    """A side without a figure, and why."""

    name: str
    why: str


class Timed(TypedDict, total=False):
    """How long a measurement took, in seconds; missing in older results."""

    taken: float


class RowResult(Timed):
    """All results of a row."""

    name: str
    title: str
    bases: list[str]
    figures: list[Figure]
    gaps: list[Gap]
    goals: list[Verdict]


class Results(TypedDict):
    """A whole run of the benchmarks, as `results.json` has it; `load` is the load average before it began."""

    machine: dict[str, str]
    load: float
    rounds: int
    peers: list[dict[str, str | bool]]
    rows: list[RowResult]


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [one / other for one, other in zip(above, below, strict=False) if other > 0]


def ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    """The median of the rounds' ratios: a disturbance of one round slows both of its sides."""
    found = ratios(above, below)
    return statistics.median(found) if found else None


def figure(
    name: str, unit: str, note: str, bases: Sequence[str], measured: Mapping[str, Sequence[float]]
) -> Figure:
    """The line of one side."""
    values = measured[name]
    found = {base: ratio(values, measured[base]) for base in bases if base in measured}
    return Figure(
        name=name,
        unit=unit,
        median=statistics.median(values),
        low=min(values),
        high=max(values),
        values=list(values),
        ratios={base: times for base, times in found.items() if times is not None},
        note=note,
    )


def judge(goal: Goal, measured: Mapping[str, Sequence[float]]) -> Verdict:
    """Whether the goal is met, for every side of it that was measured; None if none was."""
    reached, closest = reach(goal, measured)
    met = None
    if reached is not None:
        met = (goal.most is None or reached <= goal.most) and (goal.least is None or reached >= goal.least)
    return Verdict(goal=goal.text, most=goal.most, least=goal.least, figure=reached, against=closest, met=met)


def reach(goal: Goal, measured: Mapping[str, Sequence[float]]) -> tuple[float | None, str]:
    """The figure of a goal, and the closest side; None if our figure or all of theirs are missing."""
    if goal.ours not in measured:
        return None, ""
    ours = measured[goal.ours]
    if not goal.against:
        return statistics.median(ours), ""
    there = [name for name in goal.against if name in measured]
    if goal.least is None:
        found = [(ratio(ours, measured[name]), name) for name in there]
        return max(((times, name) for times, name in found if times is not None), default=(None, ""))
    found = [(ratio(measured[name], ours), name) for name in there]
    return min(((times, name) for times, name in found if times is not None), default=(None, ""))

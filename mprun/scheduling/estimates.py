"""Estimates how long tasks take, by how long they took in earlier runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# The values of a matrix, the number of an item.
_BRACKETS = re.compile(r"\[[^\[\]]*\]")


class RunTimings(Frozen):
    """How long the tasks of one earlier run took, by name, in seconds.

    `durations` has the tasks that succeeded, `until_ready` the time from a task's start until it
    was ready.
    """

    durations: dict[str, float]
    until_ready: dict[str, float]


class Estimates:
    """The expected durations of tasks by name, in seconds.

    `runs` are the earlier runs, the newest first, with at least one duration. The estimate of a
    task is the median of its durations. That of a task without any is the median of its siblings,
    the other instances of its matrix or its list; if these have none either, the median of all
    tasks.
    """

    def __init__(self, runs: Sequence[RunTimings]) -> None:
        self.runs = len(runs)
        self._runs = runs
        self._known = _merged([run.durations for run in runs])
        self._until_ready = _merged([run.until_ready for run in runs])
        self._typical = median(self._known.values())
        # Computed when a task is new.
        self._families: dict[str, float] | None = None

    def knows(self, name: str) -> bool:
        """Whether an earlier run has a duration of this very task."""
        return name in self._known

    def duration(self, name: str) -> float:
        """How long a task is expected to take, in seconds."""
        known = self._known.get(name)
        if known is not None:
            return known
        if self._families is None:
            self._families = self._medians()
        return self._families.get(_family(name), self._typical)

    def until_ready(self, name: str) -> float:
        """How long after its start a task is expected to be ready, in seconds; 0 if unknown."""
        return self._until_ready.get(name, 0.0)

    def instances(self, group: str) -> list[str]:
        """The names of the instances of a task with `foreach`, as in the newest run that has any."""
        for run in self._runs:
            names: list[str] = []
            while (name := f"{group}[{len(names)}]") in run.durations:
                names.append(name)
            if names:
                return names
        return [f"{group}[0]"]

    def _medians(self) -> dict[str, float]:
        families: dict[str, list[float]] = {}
        for name, seconds in self._known.items():
            if "[" in name:
                families.setdefault(_family(name), []).append(seconds)
        return {family: median(found) for family, found in families.items()}


def _family(name: str) -> str:
    """The name that the instances of one task have in common."""
    return _BRACKETS.sub("", name)


def _merged(runs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    if len(runs) == 1:
        return runs[0]
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, seconds in run.items():
            found.setdefault(name, []).append(seconds)
    return {name: median(seconds) for name, seconds in found.items()}


def median(values: Iterable[float]) -> float:
    """The middle value, or halfway between the two in the middle; 0 if there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

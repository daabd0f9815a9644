"""The graph of dependencies, laid out in columns: a node is a task, or all instances of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.outcomes import BAD, Outcome
from mprun.reporters.format import plural, truncate
from mprun.reporters.report.report_data import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.reporters.report.report_data import TaskRow

# More nodes than this are not drawn.
MAX_NODES = 300
# The size of a node, and the space between two, in pixels.
_WIDTH, _HEIGHT, _BESIDE, _BELOW = 190, 30, 60, 12
_MAX_TEXT = 24
_BRACKETS = re.compile(r"\[.*\]")
# A node has the colour of the first of these that one of its tasks has.
_WORST = (*map(str, BAD), *map(str, (Outcome.STOPPED, Outcome.CANCELLED, Outcome.RUNNING, Outcome.SKIPPED)))


class Graph:
    """Nodes and edges with their places. `needs` has the numbers of the rows that each row depends on."""

    def __init__(self, rows: Sequence[TaskRow], needs: Mapping[int, Sequence[int]]) -> None:
        self._rows = rows
        families: dict[str, list[int]] = {}
        for row in rows:
            families.setdefault(_family(row.task.name), []).append(row.number)
        self.omitted = len(families) if len(families) > MAX_NODES else 0
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[str] = []
        self.width = self.height = 0
        if self.omitted or not any(needs.values()):
            return
        self._lay_out(families, _depths(len(rows), needs))
        self._connect(families, needs)

    def _lay_out(self, families: Mapping[str, Sequence[int]], depths: Sequence[int]) -> None:
        filled: dict[int, int] = {}
        for name, numbers in families.items():
            column = max(depths[number] for number in numbers)
            place = filled.get(column, 0)
            filled[column] = place + 1
            x, y = column * (_WIDTH + _BESIDE) + 4, place * (_HEIGHT + _BELOW) + 4
            outcomes = {self._rows[number].outcome for number in numbers}
            outcome = next((one for one in _WORST if one in outcomes), min(outcomes))
            single = len(numbers) == 1
            text = self._rows[numbers[0]].name if single else name
            about = f"{text}: {outcome if single else plural(len(numbers), 'task')}"
            label = text if single else f"{truncate(text, _MAX_TEXT - 7)} ×{len(numbers)}"
            self.nodes.append(
                {"x": x, "y": y, "text": truncate(label, _MAX_TEXT), "about": about, "outcome": outcome}
            )
            self.width, self.height = max(self.width, x + _WIDTH + 4), max(self.height, y + _HEIGHT + 4)

    def _connect(self, families: Mapping[str, Sequence[int]], needs: Mapping[int, Sequence[int]]) -> None:
        of = {number: place for place, numbers in enumerate(families.values()) for number in numbers}
        pairs = {(of[need], of[number]) for number, found in needs.items() for need in found}
        for before, after in sorted(pairs):
            if before != after:
                self.edges.append(_curve(self.nodes[before], self.nodes[after]))


def _family(name: str) -> str:
    """The name that the instances of one task have in common."""
    return shown(_BRACKETS.sub("", name) or name, 200)


def _curve(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The path from the right of a node to the left of another, as SVG has it."""
    x, y = before["x"] + _WIDTH, before["y"] + _HEIGHT // 2
    end_x, end_y = after["x"], after["y"] + _HEIGHT // 2
    bend = _BESIDE // 2
    return f"M{x} {y}C{x + bend} {y} {end_x - bend} {end_y} {end_x} {end_y}"


def _depths(count: int, needs: Mapping[int, Sequence[int]]) -> list[int]:
    """How many tasks are before each, on the longest way to it."""
    depths = [0] * count
    waiting = [len(needs.get(number, ())) for number in range(count)]
    after: dict[int, list[int]] = {}
    for number, found in needs.items():
        for need in found:
            after.setdefault(need, []).append(number)
    ready = [number for number in range(count) if not waiting[number]]
    while ready:
        number = ready.pop()
        for one in after.get(number, ()):
            depths[one] = max(depths[one], depths[number] + 1)
            waiting[one] -= 1
            if not waiting[one]:
                ready.append(one)
    return depths

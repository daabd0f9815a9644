"""What the record says of each planned task beside its name: its dependencies, tokens and variables.

`tasks_planned` has them by the numbers of the tasks: the first task that the record names is 0. Neighbours
that have the same are one entry (`packed_details.py` writes them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import EXPANDED, PASSED
from mprun.record.events import RunStarted, TasksPlanned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.events import Event


class TaskDetails:
    """Collects what the record says of the planned tasks, event by event.

    `names` are their names by number, `numbers` their numbers by name. `is_known` is false for the record of
    an older mprun, which has no details. What is corrupt in a record is left out.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.is_known = True
        self._needs: dict[int, list[Any]] = {}
        self._resources: list[tuple[int, int, dict[str, int]]] = []
        self._env: list[tuple[int, int, list[str]]] = []
        # By number, the instances of a task that was expanded, and that task for the instances.
        self._instances: dict[int, list[range]] = {}
        self._groups: list[tuple[int, int, int]] = []

    def add(self, event: Event) -> None:
        """Take the next event of the record."""
        if isinstance(event, TasksPlanned):
            self._add(event)
        elif isinstance(event, RunStarted):
            self.is_known = event.resources is not None

    def _add(self, event: TasksPlanned) -> None:
        first = len(self.names)
        self.names += event.tasks
        for number, name in enumerate(event.tasks, first):
            self.numbers.setdefault(name, number)
        if event.needs is None:
            return
        for number, packed in enumerate(event.needs[: len(event.tasks)], first):
            if packed and isinstance(packed, list):
                self._needs[number] = packed
        self._resources += _valued(event.resources, _are_tokens)
        self._env += _valued(event.env, _are_names)
        group = self.numbers.get(event.group)
        if group is not None and group < first and event.tasks:
            self._instances.setdefault(group, []).append(range(first, len(self.names)))
            self._groups.append((first, len(self.names) - 1, group))

    def needs(self, number: int) -> Iterator[tuple[range, str]]:
        """What a task depended on, each with the condition: ranges of numbers.

        The instances take the place of a task that was expanded, if their ends were waited for. An instance
        has the dependencies of that task, too.
        """
        for first, last, condition in self._ranges(number):
            yield from self._expanded(first, last, condition)
        group = _find(self._groups, number)
        if group is not None:
            for first, last, condition in self._ranges(group):
                if condition != EXPANDED:
                    yield from self._expanded(first, last, condition)

    def own_needs(self, number: int) -> list[tuple[int, str]]:
        """What a task depended on when it was planned, with conditions."""
        return [
            (need, condition)
            for first, last, condition in self._ranges(number)
            for need in range(first, last + 1)
        ]

    def tokens(self, number: int) -> dict[str, int]:
        """The tokens that a task holds while it runs."""
        return _find(self._resources, number) or {}

    def variables(self, number: int) -> list[str]:
        """The names of the variables that the `env` of a task sets."""
        return _find(self._env, number) or []

    def _ranges(self, number: int) -> Iterator[tuple[int, int, str]]:
        for need in self._needs.get(number, ()):
            match need:
                case int() if not isinstance(need, bool):
                    need = (need, need, PASSED)
                case [int(), int(), str()]:
                    pass
                case _:
                    continue
            first, last, condition = need
            if 0 <= first <= last < len(self.names):
                yield first, last, condition

    def _expanded(self, first: int, last: int, condition: str) -> Iterator[tuple[range, str]]:
        groups = self._instances if condition != EXPANDED else {}
        start = first
        for number in range(first, last + 1) if groups else ():
            if number in groups:
                if start < number:
                    yield range(start, number), condition
                yield from ((instances, condition) for instances in groups[number])
                start = number + 1
        if start <= last:
            yield range(start, last + 1), condition


def _valued(packed: object, is_value: Callable[[Any], bool]) -> Iterator[tuple[int, int, Any]]:
    for entry in packed if isinstance(packed, list) else ():
        match entry:
            case [int() as first, int() as last, value] if is_value(value):
                yield first, last, value


def _are_tokens(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(count, int) for count in value.values())


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _find(entries: Sequence[tuple[int, int, Any]], number: int) -> Any:
    """The value of the range that has this number; the ranges are in the order of their numbers."""
    # No run reads a record: none imports this.
    from bisect import bisect_right
    from operator import itemgetter

    place = bisect_right(entries, number, key=itemgetter(0)) - 1
    if place < 0 or entries[place][1] < number:
        return None
    return entries[place][2]

"""Plans the copies of repeated tasks that are added while the run is in progress."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mprun.scheduling.repetition import blocks, copied_groups, copy_name

if TYPE_CHECKING:
    from mprun.jobfile.model import Needs
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.repetition import RandomOf, Repetition


class MoreCopies:
    """Plans the copies that are added during a run; the plan has the first of each task."""

    def __init__(self, plan: Plan, repetition: Repetition, random_of: RandomOf) -> None:
        self._components = repetition.components
        self._blocks = islice(blocks(repetition.components, random_of), repetition.blocks, None)
        self._number = {planned.name: number for number, planned in enumerate(plan.tasks)}
        self._plan = plan
        # By name, the first copy of each task in the plan.
        self._first: dict[str, PlannedTask] = {}
        for planned in plan.tasks:
            if planned.copy:
                self._first.setdefault(planned.name.rpartition("@")[0], planned)

    def next_block(self, first_number: int) -> list[PlannedTask]:
        """The copies of the next block; the first of them gets this number, the others those after it."""
        block = next(self._blocks)
        names = self._components[block.component]
        entries = [(names[place], copy) for place in block.order for copy in block.copies]
        numbers = {entry: first_number + place for place, entry in enumerate(entries)}
        needs = {entry: self._needs(*entry, numbers) for entry in entries}
        needed_by: dict[int, list[tuple[int, str]]] = {}
        for entry, own in needs.items():
            for need, condition in own:
                needed_by.setdefault(need, []).append((numbers[entry], condition))
        found = []
        for name, copy in entries:
            first = self._first[name]
            # Of a copy's groups, the first half are those of its task, and the one in the middle is that.
            groups = first.groups[: len(first.groups) // 2]
            found.append(
                first.replace(
                    name=copy_name(name, copy),
                    groups=copied_groups(name, groups, copy),
                    copy=copy,
                    needs=needs[name, copy],
                    needed_by=tuple(needed_by.get(numbers[name, copy], ())),
                )
            )
        return found

    def _needs(self, name: str, copy: int, numbers: dict[tuple[str, int], int]) -> Needs:
        found = []
        for need, condition in self._first[name].needs:
            before = self._plan.tasks[need]
            if before.copy:
                need = numbers[before.name.rpartition("@")[0], copy]
            found.append((need, condition))
        return tuple(found)

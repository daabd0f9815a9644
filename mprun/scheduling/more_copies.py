"""Plans the copies of repeated tasks that are added while the run is in progress."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mprun.jobfile.names import NameIndex
from mprun.scheduling.repetition import blocks, copied_groups, copy_name

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from mprun.jobfile.model import Needs
    from mprun.scheduling.plan import Plan, PlannedTask
    from mprun.scheduling.repetition import RandomOf, Repetition


class MoreCopies:
    """Plans the copies that are added during a run; the plan has the first of each task.

    `is_over` is whether none are left: `leave_out_last` was called after a block of each component, or they
    were stopped. `stopped` has the names of the tasks that are not repeated any more.
    """

    def __init__(self, plan: Plan, repetition: Repetition, random_of: RandomOf) -> None:
        self._components = repetition.components
        self._blocks = islice(blocks(repetition.components, random_of), repetition.blocks, None)
        self._number = {planned.name: number for number, planned in enumerate(plan.tasks)}
        self._plan = plan
        # By name, the first copy of each task in the plan.
        self._first: dict[str, PlannedTask] = {}
        # By component and copy, the numbers of its tasks, without those at the end that are over.
        self._unfinished: dict[tuple[int, int], list[int]] = {}
        component = {name: number for number, names in enumerate(repetition.components) for name in names}
        for number, planned in enumerate(plan.tasks):
            if planned.copy:
                name = planned.name.rpartition("@")[0]
                self._first.setdefault(name, planned)
                self._unfinished.setdefault((component[name], planned.copy), []).append(number)
        self.stopped: set[str] = set()
        self._left_out: set[int] = set()
        self._last = 0

    @property
    def groups(self) -> list[int]:
        """The tasks that are not repeated, and of which only a result says what instances they have."""
        tasks = enumerate(self._plan.tasks)
        return [number for number, planned in tasks if planned.task.foreach is not None and not planned.copy]

    @property
    def is_over(self) -> bool:
        """Whether no component is left."""
        return len(self._left_out) == len(self._components)

    def count_unfinished(self, outcomes: Sequence[str | None], expanded: Container[int]) -> int:
        """How many copies of components have a task that is not over.

        By number, `outcomes` has the outcome of each task; of one in `expanded` its instances have them.
        """
        for key, numbers in [*self._unfinished.items()]:
            while numbers and (outcomes[numbers[-1]] is not None or numbers[-1] in expanded):
                numbers.pop()
            if not numbers:
                del self._unfinished[key]
        return len(self._unfinished)

    def leave_out_last(self) -> None:
        """Plan no more copies of the component of which the last block was."""
        self._left_out.add(self._last)

    def stop(self, names: Sequence[str]) -> None:
        """Plan no more copies of what these names, groups or patterns mean, nor of what depends on it."""
        # There is no copy 0: it has the names that each later one has.
        later = [self._copy(name, 0) for name in self._first]
        index = NameIndex(later)
        for name in names:
            self.stopped.update(later[number].name.rpartition("@")[0] for number in index.resolve(name))
        while more := {
            name for name in self._first if name not in self.stopped and self._needs_stopped(name)
        }:
            self.stopped |= more
        for number, component in enumerate(self._components):
            if self.stopped.issuperset(component):
                self._left_out.add(number)

    def _needs_stopped(self, name: str) -> bool:
        needed = (self._plan.tasks[number] for number, _ in self._first[name].needs)
        return any(one.copy and one.name.rpartition("@")[0] in self.stopped for one in needed)

    def next_block(
        self, first_number: int, instances: Mapping[int, Mapping[int, PlannedTask]]
    ) -> list[PlannedTask]:
        """The copies of the next block; the first of them gets this number, the others those after it.

        `instances` has those of each of `groups` that was expanded, by their numbers.
        """
        block = next(block for block in self._blocks if block.component not in self._left_out)
        self._last = block.component
        names = self._components[block.component]
        running = [names[place] for place in block.order if names[place] not in self.stopped]
        entries = [(name, copy) for name in running for copy in block.copies]
        numbers = {entry: first_number + place for place, entry in enumerate(entries)}
        needs = {entry: self._needs(*entry, numbers, instances) for entry in entries}
        needed_by: dict[int, list[tuple[int, str]]] = {}
        for entry, own in needs.items():
            for need, condition in own:
                needed_by.setdefault(need, []).append((numbers[entry], condition))
        found = []
        for name, copy in entries:
            found.append(
                self._copy(name, copy).replace(
                    needs=needs[name, copy],
                    needed_by=tuple(needed_by.get(numbers[name, copy], ())),
                )
            )
        for (_, copy), number in numbers.items():
            self._unfinished.setdefault((block.component, copy), []).append(number)
        return found

    def _copy(self, name: str, copy: int) -> PlannedTask:
        first = self._first[name]
        # Of a copy's groups, the first half are those of its task, and the one in the middle is that.
        groups = copied_groups(name, first.groups[: len(first.groups) // 2], copy)
        return first.replace(name=copy_name(name, copy), groups=groups, copy=copy)

    def _needs(
        self,
        name: str,
        copy: int,
        numbers: dict[tuple[str, int], int],
        instances: Mapping[int, Mapping[int, PlannedTask]],
    ) -> Needs:
        first = self._first[name]
        found = []
        for need, condition in first.needs:
            before = self._plan.tasks[need]
            if before.copy:
                found.append((numbers[before.name.rpartition("@")[0], copy], condition))
            elif need in instances:
                found += [
                    (number, of)
                    for number, instance in instances[need].items()
                    for after, of in instance.needed_by
                    if after == self._number[first.name]
                ]
            else:
                found.append((need, condition))
        return tuple(dict.fromkeys(found))

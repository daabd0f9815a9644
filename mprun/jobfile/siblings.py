"""Finds the instance that a reference such as `${tasks.fetch[${matrix.model}].result}` selects."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.jobfile.instance_names import as_label
from mprun.jobfile.references import ReferenceProblem, references
from mprun.jobfile.resolution import Resolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import SiblingDependency
    from mprun.jobfile.names import Named, NameIndex
    from mprun.jobfile.references import SiblingReference

# Instances that a message names.
_MAX_SHOWN = 5


def selected(instance: Named, dependency: SiblingDependency) -> SiblingReference:
    """The reference of a dependency with the values of an instance that has it."""
    resolver = Resolver(instance.task.scope, instance.task.axes, instance.values)
    return resolver(dependency.reference)  # type: ignore[no-any-return]


class Siblings:
    """The instances of matrices and lists, by the values of their axes; each group is indexed once."""

    def __init__(self, tasks: Sequence[Named], names: NameIndex) -> None:
        self._tasks = tasks
        self._names = names
        # The instances by group. They are asked for once for each receiver: a scan each would be quadratic.
        self._instances: dict[str, dict[int, None]] = {}
        # By group and axes, without types and with them: the instances by their values there.
        self._indexes: dict[tuple[str, tuple[int, ...], bool], dict[Any, dict[int, None]]] = {}

    def of(self, number: int, dependency: SiblingDependency) -> int:
        """The number of the task that instance `number` needs; see `find`."""
        instance = self._tasks[number]
        return self.find(selected(instance, dependency), instance.name)

    def group(self, reference: SiblingReference) -> Sequence[int]:
        """The numbers of all tasks that a reference may select from. Raises ReferenceProblem."""
        return tuple(self._numbers(reference.name)) or (self._of_group(reference),)

    def find(self, reference: SiblingReference, receiver: str) -> int:
        """The number of the instance that a reference selects, for the task of this name.

        It is that of the group itself if its instances are not known yet. Raises ReferenceProblem.
        """
        group = reference.name
        numbers = self._numbers(group)
        if not numbers:
            return self._of_group(reference)
        places = _places(reference, self._tasks[next(iter(numbers))].task.axes)
        values = [value for _, value in reference.selector]
        found = self._index(group, places, typed=False).get(_key(values, typed=False), {})
        if len(found) > 1:
            # `1` is not `"1"`.
            found = self._index(group, places, typed=True).get(_key(values, typed=True)) or found
        if len(found) > 1:
            found = self._same_index(found, group, receiver) or found
        if not found:
            same = self._same_index(numbers, group, receiver)
            found = {one: None for one in same if self._is_late(one)}
        if len(found) == 1:
            return next(iter(found))
        # One more than is shown, which says that there are more.
        names = [self._tasks[one].name for one in islice(found or numbers, _MAX_SHOWN + 1)]
        raise _not_one(reference, names, bool(found))

    def _numbers(self, group: str) -> dict[int, None]:
        """The instances of a group, in order; none if they are not known yet."""
        numbers = self._instances.get(group)
        if numbers is None:
            all_of_group = self._names.groups.get(group, ())
            numbers = {one: None for one in all_of_group if self._is_instance(one, group)}
            self._instances[group] = numbers
        return numbers

    def _is_instance(self, number: int, group: str) -> bool:
        """Whether a task is an instance of the group itself, and not a task of its recipe."""
        task = self._tasks[number]
        return bool(task.values) and task.groups[-1:] == (group,)

    def _of_group(self, reference: SiblingReference) -> int:
        name = reference.name
        number = self._names.numbers.get(name)
        if number is not None and self._tasks[number].task.foreach is not None:
            return number
        if name in self._names.groups and not self._names.groups[name]:
            raise ReferenceProblem(f"{quote(name)} has no instances: its list is empty", reference)
        if name in self._names.groups:
            raise ReferenceProblem(
                f"`{reference}`: {quote(name)} is a recipe, which has no result", reference
            )
        if number is None:
            raise ReferenceProblem(f"unknown task {quote(name)}", reference)
        message = f"{quote(name)} has neither `matrix` nor `foreach`"
        help = f"write `${{tasks.{name[:60]}.result}}`"
        raise ReferenceProblem(message, reference, help=help)

    def _index(self, group: str, places: tuple[int, ...], *, typed: bool) -> dict[Any, dict[int, None]]:
        index = self._indexes.get((group, places, typed))
        if index is None:
            index = self._indexes[group, places, typed] = {}
            for number in self._numbers(group):
                values = self._tasks[number].values
                key = _key([values[place] for place in places], typed)
                index.setdefault(key, {})[number] = None
        return index

    def _is_late(self, number: int) -> bool:
        """Whether the item of an instance refers to a result: its value is not in the index."""
        return next(references(self._tasks[number].values), None) is not None

    def _same_index(self, found: dict[int, None], group: str, receiver: str) -> dict[int, None]:
        """The one with the index of the receiver: a list may have an item twice."""
        indexes = re.findall(r"\[[0-9]+\]", receiver)
        numbers = {self._names.numbers.get(group + index, -1) for index in indexes}
        return {one: None for one in sorted(numbers) if one in found}


def _key(values: Sequence[Any], typed: bool) -> tuple[Any, ...]:
    """The texts of values, by which they are found; with their types if a text alone has several."""
    if typed:
        return tuple([(type(value), as_label(value)) for value in values])
    return tuple([as_label(value) for value in values])


def _places(reference: SiblingReference, axes: tuple[str, ...]) -> tuple[int, ...]:
    """The indexes of the axes that a reference names, in its order; without names, from the first on."""
    places: list[int] = []
    for position, (axis, _) in enumerate(reference.selector):
        if axis and axis not in axes:
            raise ReferenceProblem(
                f"unknown axis {quote(axis)} of {quote(reference.name)}",
                reference,
                kind="axes",
                word=axis,
                candidates=axes,
            )
        place = axes.index(axis) if axis else position
        if place >= len(axes) or place in places:
            count = f"{len(axes)} {'axis' if len(axes) == 1 else 'axes'}"
            raise ReferenceProblem(f"`{reference}`: {quote(reference.name)} has {count}", reference)
        places.append(place)
    return tuple(places)


def _not_one(reference: SiblingReference, names: list[str], several: bool) -> ReferenceProblem:
    shown = ", ".join(map(quote, names[:_MAX_SHOWN])) + (", …" if len(names) > _MAX_SHOWN else "")
    if several:
        message = f"`{reference}` is not one instance: it could be any of {shown}"
        return ReferenceProblem(message, reference, help="name the other axes, too")
    return ReferenceProblem(
        f"`{reference}`: no such instance of {quote(reference.name)}", reference, help=f"instances: {shown}"
    )

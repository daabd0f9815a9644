"""The tasks of a run by number: those of the plan, and the instances that are added during the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.jobfile.names import NameIndex

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from mprun.jobfile.references import Reference
    from mprun.jobfile.siblings import Siblings
    from mprun.scheduling.plan import Plan, PlannedTask

    AnyReference = TypeVar("AnyReference", bound=Reference)


class TaskTable:
    """Grows when a task with `foreach` over a result is expanded: its instances come last.

    Callers only read `tasks`; only `expand` and `add` change it.
    """

    def __init__(self, plan: Plan) -> None:
        self.tasks = list(plan.tasks)
        self._empty_groups = plan.job.empty
        self._instances: dict[int, Sequence[int]] = {}
        self._names: NameIndex | None = None
        self._siblings: Siblings | None = None

    def expand(self, number: int, instances: Sequence[PlannedTask]) -> None:
        """Add the instances of a task, which `instances` returns in its place from now on."""
        self._instances[number] = range(len(self.tasks), len(self.tasks) + len(instances))
        self.add(instances)

    def add(self, tasks: Sequence[PlannedTask]) -> None:
        """Add tasks, which get the next numbers."""
        first = len(self.tasks)
        self.tasks += tasks
        if self._names is not None:
            # A new index each time would be quadratic.
            self._names.add(tasks, first)
        self._siblings = None

    def own(self, reference: AnyReference, copy: int) -> AnyReference:
        """The reference to a result that a copy of a task has: to the same copy, if that task is repeated."""
        name = f"{reference.name}@{copy}"
        if not copy or not (name in self.names.numbers or name in self.names.groups):
            return reference
        return reference.replace(name=name)

    def is_expanded(self, number: int) -> bool:
        """Whether the instances of this task were added."""
        return number in self._instances

    def instances(self, number: int) -> Sequence[int]:
        """The numbers of the instances of an expanded task, else only that of the task."""
        return self._instances.get(number, (number,))

    @property
    def names(self) -> NameIndex:
        """The numbers by name, group and pattern; an expanded task keeps its own number, too."""
        if self._names is None:
            self._names = NameIndex(self.tasks, self._empty_groups)
        return self._names

    @property
    def siblings(self) -> Siblings:
        """The instances by the values of their axes."""
        if self._siblings is None:
            # Few runs need it.
            from mprun.jobfile.siblings import Siblings

            self._siblings = Siblings(self.tasks, self.names)
        return self._siblings

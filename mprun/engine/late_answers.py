"""What becomes of tasks whose conditions, lists or arguments refer to results, once these are known."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mprun.errors import JobFileError, TooManyTasks, refuse_too_many
from mprun.frozen import Frozen
from mprun.jobfile import job_checks
from mprun.jobfile.model import PASSED, SiblingDependency
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import ReferenceProblem
from mprun.jobfile.resolution import is_true, resolve
from mprun.scheduling.instance_plan import is_late, needed_by_instances, plan_instance
from mprun.scheduling.plan import Traits
from mprun.scheduling.task_run import WHEN_IS_FALSE

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from mprun.engine.resolver import TaskResolver
    from mprun.engine.task_table import TaskTable
    from mprun.jobfile.model import Instance, Needs
    from mprun.scheduling.plan import Plan, PlannedTask


class Resolved(Frozen):
    """The task can be started: every reference has a value."""


class Skipped(Frozen):
    """The task is skipped, for this reason."""

    reason: str


class Failed(Frozen):
    """The task fails without an attempt, for this reason."""

    reason: str


class Expanded(Frozen):
    """The task is expanded to these instances."""

    tasks: tuple[PlannedTask, ...]


Answer = Resolved | Skipped | Failed | Expanded


class Expanding:
    """The task is being expanded; each `step` takes some milliseconds, and the last one has the answer."""

    def __init__(self, number: int, steps: Generator[None, None, Expanded]) -> None:
        self.number = number
        self._steps = steps

    def step(self) -> Answer | None:
        """Take a step; the answer, None if another step has to be taken."""
        try:
            next(self._steps)
        except StopIteration as end:
            answer: Expanded = end.value
            return answer
        except JobFileError as error:
            return Failed(reason=error.diagnostics[0].message)
        except (ReferenceProblem, TooManyTasks, _Refused) as error:
            return Failed(reason=str(error))
        return None


class _Refused(Exception):
    """The instances of a task cannot be added to the run."""


class LateAnswers:
    """Answers what becomes of tasks; few jobs have any that needs it."""

    def __init__(self, resolver: TaskResolver, plan: Plan, table: TaskTable) -> None:
        self._resolver = resolver
        self._plan = plan
        self._table = table

    def answer(self, number: int) -> Answer | Expanding:
        """What becomes of a task whose dependencies are met: it runs, or is skipped, expanded or failed."""
        planned = self._table.tasks[number]
        task = planned.task
        resolver = self._resolver.values_for(planned)
        try:
            for node in (*task.inherited_conditions, task.when):
                # One that refers to `item` stays a reference, which is true, and is evaluated for each
                # instance. Nothing looks inside of its value, which may be large.
                if not is_true(resolve(node, resolver)):
                    return Skipped(reason=WHEN_IS_FALSE)
            if task.foreach is not None and not planned.values:
                return Expanding(number, self._expand(planned, resolve(task.foreach, resolver)))
            # It often starts at once, and may refer to the results of thousands of tasks.
            self._resolver.resolved = {number: self._resolver.call(number)}
        except ReferenceProblem as error:
            return Failed(reason=str(error))
        return Resolved()

    def _expand(self, planned: PlannedTask, found: Any) -> Generator[None, None, Expanded]:
        # Few jobs have a list or matrix that is known only during the run.
        from mprun.jobfile.expander import INSTANCES_A_STEP, expand_over

        instances = yield from expand_over(planned.task, found)
        if planned.copy:
            from mprun.scheduling.repetition import copy_of

            instances = [copy_of(instance, planned.copy) for instance in instances]
        refuse_too_many(len(self._table.tasks) + len(instances))
        # A task that has finished neither holds nor needs tokens.
        known = (
            task
            for number, task in enumerate(self._table.tasks)
            if task.task.deferred_expansion is None and number not in self._resolver.ends
        )
        shortage = job_checks.shortage_of_new_tasks(instances, known, self._plan.job.resources)
        if shortage:
            raise _Refused(shortage)
        tasks = []
        for task in self._planned(planned, instances):
            tasks.append(task)
            if not len(tasks) % INSTANCES_A_STEP:
                yield
        return Expanded(tasks=tuple(tasks))

    def _planned(self, group: PlannedTask, instances: Sequence[Instance]) -> Iterator[PlannedTask]:
        """The plans of new instances, with what they select, and what selects them, as dependencies."""
        shared = needed_by_instances(group)
        # A dictionary, as there may be as many as instances.
        selecting = dict.fromkeys(pair for pair in shared if self._selected_from(pair[0], group))
        if selecting:
            shared = tuple(pair for pair in shared if pair not in selecting)
        own = self._selectors(group, instances, selecting) if selecting else {}
        traits = Traits()
        for number, instance in enumerate(instances):
            needs = self._siblings_of(instance)
            yield plan_instance(
                instance,
                group,
                self._plan.reused,
                needs=needs,
                needed_by=(*shared, *own[number]) if number in own else shared,
                late=is_late(instance, needs, traits),
            )

    def _selected_from(self, after: int, group: PlannedTask) -> list[SiblingDependency]:
        """The dependencies of a task that select one of a group's instances."""
        task = self._table.tasks[after].task
        found = (one for one in task.depends_on if isinstance(one, SiblingDependency))
        return [dependency for dependency in found if dependency.task == group.name]

    def _selectors(
        self, group: PlannedTask, instances: Sequence[Instance], selecting: Iterable[tuple[int, str]]
    ) -> dict[int, list[tuple[int, str]]]:
        """The dependents that select an instance, by its index; those that select none are left out."""
        from mprun.jobfile.siblings import Siblings, selected

        siblings = Siblings(instances, NameIndex(instances))
        found: dict[int, list[tuple[int, str]]] = {}
        for after, condition in selecting:
            dependent = self._table.tasks[after]
            for dependency in self._selected_from(after, group):
                with suppress(ReferenceProblem):
                    number = siblings.find(selected(dependent, dependency), dependent.name)
                    found.setdefault(number, []).append((after, condition))
        return found

    def _siblings_of(self, instance: Instance) -> Needs:
        """The tasks that a new instance selects; none for what is not there, which its start finds out."""
        found: dict[tuple[int, str], None] = {}
        for dependency in instance.task.depends_on:
            if isinstance(dependency, SiblingDependency):
                from mprun.jobfile.siblings import selected

                with suppress(ReferenceProblem):
                    reference = self._table.own(selected(instance, dependency), instance.copy)
                    found[self._table.siblings.find(reference, instance.name), PASSED] = None
        return tuple(found)

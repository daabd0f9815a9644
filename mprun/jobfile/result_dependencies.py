"""Finds the results that a task refers to, and makes it depend on the tasks that they are of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import PASSED, Dependency, SiblingDependency
from mprun.jobfile.references import (
    Closure,
    Reference,
    ReferenceProblem,
    SiblingReference,
    Template,
    references,
)
from mprun.jobfile.resolution import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.jobfile.model import Task

# The conditions that a task meets by its end.
_ENDS = (PASSED, "succeeded", "finished", "failed")


def with_dependencies(task: Task, inherited: Sequence[Dependency]) -> Task:
    """The task with those dependencies that it inherits, and those on results that it refers to."""
    found = {(dependency.task, dependency.condition): dependency for dependency in task.depends_on}
    selecting = [dependency for dependency in inherited if isinstance(dependency, SiblingDependency)]
    for dependency in inherited:
        if dependency not in selecting:
            found.setdefault((dependency.task, dependency.condition), dependency)
    if len(found) > len(task.depends_on):
        task = task.replace(depends_on=tuple(found.values()))
    results = list(result_references(task))
    siblings = [reference for reference in results if isinstance(reference, SiblingReference)]
    task = with_results(task, [one.name for one in results if not isinstance(one, SiblingReference)])
    return _with_siblings(task, siblings, selecting) if siblings or selecting else task


def _with_siblings(
    task: Task, references: Sequence[SiblingReference], inherited: Sequence[SiblingDependency]
) -> Task:
    """The task with dependencies on the instances that it selects, unless it waits for all of them."""
    # Without a condition, a task waits until the others have passed.
    waits = {one.task for one in task.depends_on if one.condition is None or one.condition in _ENDS}
    found = {str(dependency.reference): dependency for dependency in inherited}
    for reference in references:
        if reference.name not in waits:
            new = SiblingDependency(task=reference.name, condition=PASSED, reference=reference)
            found.setdefault(str(reference), new)
    return task.replace(depends_on=(*task.depends_on, *found.values()))


def with_results(task: Task, names: Sequence[str]) -> Task:
    """The task with dependencies on the tasks whose results it refers to."""
    if not names:
        return task
    found = {(dependency.task, dependency.condition): dependency for dependency in task.depends_on}
    # A task that waits for any end, or for a failure, accepts that there may be no result.
    ends = {name for name, condition in found if condition in _ENDS}
    for name in names:
        if not any(_covers(end, name) for end in ends):
            # Not for the whole group that contains it: without a condition, its daemons need not end.
            ends.add(name)
            given = found.get((name, None), Dependency(task=name))
            found[name, None] = given.replace(condition=PASSED)
    return task.replace(depends_on=tuple(found.values()))


def _covers(name: str, other: str) -> bool:
    """Whether a dependency by this name is one on the other task, too: a group is all of its tasks."""
    return other == name or other.startswith((f"{name}[", f"{name}/"))


def result_references(task: Task, values: Sequence[Any] = ()) -> Iterator[Reference]:
    """The references of a task to results, also through params of its recipe.

    `values` are those of an instance, whose references are included.
    """
    nodes = [
        task.args,
        task.kwargs,
        task.command,
        task.env,
        task.cwd,
        task.when,
        task.foreach,
        *task.inherited_conditions,
        *values,
    ]
    if task.expect is not None:
        nodes.append(task.expect.result)
    resolver = Resolver(task.scope)
    # Most are empty or true.
    for reference in references([node for node in nodes if node and node is not True]):
        if reference.root in ("params", "env"):
            value = (task.scope.params if reference.root == "params" else task.scope.env).get(reference.name)
            if not isinstance(value, (Closure, Reference, Template)):
                # Plain, and perhaps large.
                continue
        try:
            found = resolver(reference) if reference.root in ("params", "env") else reference
        except ReferenceProblem:
            # Reported when the instances are built.
            continue
        for result in references(found if found is reference else [found]):
            if result.root == "tasks":
                yield result

"""The dependencies between tasks: resolved from names, checked, and free of cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote, suggest
from mprun.jobfile.model import EXPANDED, PASSED, SiblingDependency
from mprun.jobfile.names import MAX_COMPARED
from mprun.jobfile.references import ReferenceProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.jobfile.model import Needs, Origin, Task
    from mprun.jobfile.names import Named, NameIndex
    from mprun.jobfile.siblings import Siblings

# Names of a cycle that a message shows.
_MAX_CYCLE_SHOWN = 8

# Errors that are looked for: each takes a search for similar names, and each cycle another search.
MAX_ERRORS = 20

# More would not fit into memory; patterns multiply.
MAX_DEPENDENCIES = 1_000_000


TOO_MANY_PATTERNS = (
    f"too many patterns: comparing them with the names takes too long (limit: {MAX_COMPARED:,})"
)


class DependencyError(Exception):
    """An invalid dependency: the number of the task, the name that it depends on, and the error.

    `known` is whether there is such a task; if not, the name may be a typo.
    """

    def __init__(self, task: int, need: str, message: str, help: str = "", *, known: bool = True) -> None:
        super().__init__(message)
        self.task = task
        self.need = need
        self.help = help
        self.known = known


def link(
    tasks: Sequence[Named], names: NameIndex, errors: list[DependencyError] | None = None
) -> tuple[Needs, ...]:
    """The dependencies of each task.

    Raises DependencyError for the first invalid one; with `errors`, it adds the first ones to this list,
    of cycles one each, and leaves them out.
    """
    linked: list[Needs] = []
    # Instances share their task, and so its dependencies, unless these select instances.
    shared: dict[int, Needs] = {}
    siblings: list[Siblings] = []
    total = 0
    for number, instance in enumerate(tasks):
        task = instance.task
        needs = shared.get(id(task))
        if needs is None:
            needs, examined = _needs(number, tasks, names, siblings, errors)
            # The index is there once a task has selected an instance.
            if not siblings or not _selects_siblings(task):
                shared[id(task)] = needs
            total += examined - len(needs)
        total += len(needs)
        if total > MAX_DEPENDENCIES:
            message = f"too many dependencies, patterns and groups expanded (limit: {MAX_DEPENDENCIES:,})"
            help = "name the tasks, or put one task in between"
            raise DependencyError(number, task.depends_on[-1].task, message, help)
        try:
            linked.append(_without_itself(number, task, needs, names) if needs else needs)
        except DependencyError as error:
            _note(errors, error)
            linked.append(())
    _refuse_cycles(tasks, linked, names, errors)
    return tuple(linked)


def _note(errors: list[DependencyError] | None, error: DependencyError) -> None:
    """Add an error to the list; raise it if there is none, or if it is long enough."""
    if errors is None or len(errors) >= MAX_ERRORS:
        raise error
    errors.append(error)


def _selects_siblings(task: Task) -> bool:
    return any(isinstance(dependency, SiblingDependency) for dependency in task.depends_on)


def _sibling(
    number: int,
    tasks: Sequence[Named],
    names: NameIndex,
    siblings: list[Siblings],
    dependency: SiblingDependency,
) -> Sequence[int]:
    """The one instance that a task depends on; all of a group if the task itself is a group.

    `siblings` has the index once it was needed. Raises DependencyError.
    """
    if not siblings:
        # Few jobs need it.
        from mprun.jobfile.siblings import Siblings

        siblings.append(Siblings(tasks, names))
    try:
        if tasks[number].task.foreach is not None:
            return siblings[0].group(dependency.reference)
        return (siblings[0].of(number, dependency),)
    except ReferenceProblem as error:
        help = error.help or (suggest(error.word, error.candidates, error.kind) if error.word else "")
        raise DependencyError(number, dependency.task, str(error), help) from None


def _needs(
    number: int,
    tasks: Sequence[Named],
    names: NameIndex,
    siblings: list[Siblings],
    errors: list[DependencyError] | None,
) -> tuple[Needs, int]:
    """The dependencies of a task, and how many matches were examined for them."""
    # A task may depend on another twice: by name for one condition, by a pattern for another.
    found: dict[tuple[int, str], None] = {}
    examined = 0
    for dependency in tasks[number].task.depends_on:
        if isinstance(dependency, SiblingDependency):
            # The instances of a group are not known yet: it waits until those that they select from are.
            is_group = tasks[number].task.foreach is not None
            try:
                selected = _sibling(number, tasks, names, siblings, dependency)
            except DependencyError as error:
                _note(errors, error)
                continue
            found.update(((other, EXPANDED if is_group else PASSED), None) for other in selected)
            continue
        resolved = names.resolve(dependency.task)
        if names.compared > MAX_COMPARED:
            raise DependencyError(number, dependency.task, TOO_MANY_PATTERNS, "name the tasks")
        if not resolved and dependency.task not in names.groups:
            _note(errors, DependencyError(number, dependency.task, "", known=False))
            continue
        examined += len(resolved)
        is_pattern = bool({"*", "?"} & set(dependency.task))
        origin = dependency.origin or tasks[number].task.origin
        for other in resolved:
            if is_pattern and _comes_from(tasks[other].task, origin):
                continue
            found[other, dependency.condition or default_condition(tasks[other].task)] = None
    return tuple(found), max(examined, len(found))


def default_condition(task: Task) -> str:
    """The condition of a dependency on this task that has none of its own: a daemon serves until the end."""
    if not task.daemon:
        return PASSED
    return "started" if task.ready is None else "ready"


def _comes_from(task: Task, origin: Origin) -> bool:
    """Whether a task is at a place of a file, or comes from a recipe that is used there.

    A pattern does not match the tasks of its own place.
    """
    document, path = origin.document, origin.path
    if task.document is document and path == ("tasks", task.position - 1):
        return True
    origins = (one.origin for one in task.depends_on if one.origin is not None)
    return any(origin.document is document and origin.path == path for origin in origins)


def refuse_vain_waits(tasks: Sequence[Named], linked: Sequence[Needs], names: NameIndex) -> None:
    """Raise DependencyError if a task waits for what cannot happen before the job ends.

    That is that another one is ready that has no `ready` probe, or the success or the result of a
    daemon without a reason to end.
    """
    seen: set[int] = set()
    for number, needs in enumerate(linked):
        if id(needs) in seen:
            continue
        seen.add(id(needs))
        for other, condition in needs:
            found = _vain_wait(tasks[number], tasks[other], condition)
            if found is not None:
                waits = tasks[number].task.depends_on
                name_given = next(
                    one.task
                    for one in waits
                    if other in names.resolve(one.task)
                    and condition == (one.condition or default_condition(tasks[other].task))
                )
                raise DependencyError(number, name_given, *found)


def _vain_wait(waiting: Named, other: Named, condition: str) -> tuple[str, str] | None:
    """The message and the help about a condition that cannot come true; None if it can."""
    name, task = quote(other.name), other.task
    if condition == "ready" and task.ready is None:
        message = f"{name} has no `ready` probe, so nothing can depend on it being ready"
        return (
            message,
            "add `ready` to it, or use `started`" if task.daemon else "use `succeeded` or `started`",
        )
    if condition not in (PASSED, "succeeded") or may_end(task):
        return None
    what = "success" if condition == "succeeded" else "result"
    message = f"{quote(waiting.name)} waits for the {what} of the daemon {name}, which ends with the job"
    if condition == PASSED:
        return message, "if it ends by itself, remove its `daemon: true`"
    return message, f"use `{default_condition(task)}`; if it ends by itself, remove its `daemon: true`"


def may_end(task: Task) -> bool:
    """Whether a task has a reason to end before the job does: a daemon, only if the file says so."""
    if not task.daemon:
        return True
    limited = task.limits is not None and task.limits.cpu_time is not None
    return task.restart == "never" and (task.timeout is not None or task.expect is not None or limited)


def _without_itself(number: int, task: Task, needs: Needs, names: NameIndex) -> Needs:
    """The dependencies without the task itself, which only a pattern may match."""
    if not any(other == number for other, _ in needs):
        return needs
    for dependency in task.depends_on:
        if not {"*", "?"} & set(dependency.task) and number in names.resolve(dependency.task):
            name = task.name if dependency.task == task.name else dependency.task
            raise DependencyError(number, dependency.task, f"task `{name}` depends on itself", "remove it")
    return tuple(need for need in needs if need[0] != number)


def _refuse_cycles(
    tasks: Sequence[Named], linked: list[Needs], names: NameIndex, errors: list[DependencyError] | None
) -> None:
    graph = {number: [other for other, _ in needs] for number, needs in enumerate(linked) if needs}
    while cycle := find_cycle(graph):
        first, second = cycle[0], cycle[1]
        need = next(
            dependency.task
            for dependency in tasks[first].task.depends_on
            if second in names.resolve(dependency.task)
        )
        help = "remove one of these dependencies"
        message = cycle_message([tasks[number].name for number in cycle])
        _note(errors, DependencyError(first, need, message, help))
        # Another cycle has none of its tasks.
        for number in cycle[:-1]:
            graph.pop(number, None)


def cycle_message(names: Sequence[str]) -> str:
    """The message of an error about a cycle; a long one is cut in the middle."""
    quoted = [quote(name) for name in names]
    if len(quoted) > _MAX_CYCLE_SHOWN:
        quoted = [*quoted[:4], "…", *quoted[-3:]]
    return f"dependency cycle: {' -> '.join(quoted)}"


def find_cycle(needs: Mapping[Any, Sequence[Any]]) -> list[Any]:
    """A path of nodes that leads back to its first; [] if there is none.

    Iterative, so a chain of any length is no deeper than one of two. A node that is not a key
    of `needs` is ignored.
    """
    done: set[Any] = set()
    for root in needs:
        path: list[Any] = []
        on_path: set[Any] = set()
        stack: list[tuple[Any, bool]] = [(root, False)]
        while stack:
            node, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(node)
            elif node in on_path:
                return [*path[path.index(node) :], node]
            elif node not in done and node in needs:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((need, False) for need in reversed(needs[node]))
    return []

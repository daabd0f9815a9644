"""Repeats the tasks of a job: makes copies with a number of their own, in an order that a seed decides."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError, refuse_too_many
from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.jobfile.model import Instance, Job, Needs

    # Makes, from a text, a function that returns numbers in [0, 1): equal texts give equal numbers.
    RandomOf = Callable[[str], Callable[[], float]]

# In this many copies of all tasks, each task has its turn. They are divided into blocks of two or of four,
# whose copies follow each other, so that they run side by side: a race shows only then.
BATCH = 4
_SPLIT = 2

# A name that no task can have. In the list of the tasks that results expand, it says that copies are added.
MORE_COPIES = "/"


class Repetition(Frozen):
    """How the tasks of a plan are repeated.

    `components` are the names of the tasks that are repeated, before their copies were made: those that
    depend on each other are together, each component in file order. `count` is how many copies of each there
    are; None if copies are added during the run, for `seconds` (None: until it ends otherwise), and
    `blocks` is how many blocks of copies the plan has.
    """

    seed: int
    components: tuple[tuple[str, ...], ...]
    count: int | None = None
    seconds: float | None = None
    blocks: int = 0

    @property
    def options(self) -> dict[str, object]:
        """What repeats the tasks in the same way, as arguments of `mprun.plan_job`."""
        if self.count is not None:
            return {"repeat": self.count, "seed": self.seed}
        if self.seconds is not None:
            return {"repeat_for": self.seconds, "seed": self.seed}
        return {"until_failure": True, "seed": self.seed}


class Block(Frozen):
    """Copies of one component, from `first` up to `last`: `order` has the indices of its tasks."""

    component: int
    first: int
    last: int
    order: tuple[int, ...]

    @property
    def copies(self) -> range:
        """The numbers of the copies, from 1."""
        return range(self.first, self.last + 1)


def blocks(components: Sequence[Sequence[str]], random_of: RandomOf) -> Iterator[Block]:
    """The copies of all components in the order in which they should start, without end.

    The order of a component's blocks among others depends on its first name alone, so it is the same if
    other tasks are left out.
    """
    first = 1
    while True:
        batch: list[tuple[float, Block]] = []
        for number, names in enumerate(components):
            random = random_of(f"{names[0]}/{first}")
            size = _SPLIT if random() < 0.5 else BATCH
            for begin in range(first, first + BATCH, size):
                place = random()
                keys = {unit: random() for unit in dict.fromkeys(map(_unit, names))}
                # Stable: the result of a group is the list of its results in file order.
                order = sorted(range(len(names)), key=lambda place: keys[_unit(names[place])])
                batch.append(
                    (place, Block(component=number, first=begin, last=begin + size - 1, order=tuple(order)))
                )
        batch.sort(key=lambda item: item[0])
        for _, block in batch:
            yield block
        first += BATCH


def _unit(name: str) -> str:
    """The name of the matrix, the list or the recipe that a task is of, or its own."""
    return name.partition("[")[0].partition("/")[0]


def repeat_job(
    job: Job,
    selection: Sequence[int] | None,
    random_of: RandomOf,
    *,
    seed: int,
    count: int | None,
    seconds: float | None = None,
) -> tuple[Job, Repetition]:
    """The job with copies of its tasks in place of them, and what was repeated.

    `selection` has the indices of the tasks that run, None is all. Daemons and what they depend on run
    once, for all copies; a copy depends on the same copy of other tasks. Raises UsageError, TooManyTasks.
    """
    running = list(range(len(job.tasks)) if selection is None else selection)
    repeated = _repeated(job, running)
    if not repeated:
        raise UsageError("nothing to repeat: only daemons, and tasks that they depend on, are selected")
    _refuse_names(job, running, repeated)
    # Also if only its daemons run, for all copies.
    whole = next((w for n in sorted(running) if (w := job.tasks[n].task.whole) is not None), None)
    if whole is not None:
        recipe = quote(whole.name)
        raise UsageError(
            f"nothing is repeated with {recipe}, which has `retry` or `timeout` for all of a recipe"
        )
    components = _components(job, repeated)
    names = tuple(tuple(job.tasks[number].name for number in component) for component in components)
    if count is not None:
        refuse_too_many(len(repeated) * count + len(running) - len(repeated))
    taken = list(_wanted(blocks(names, random_of), len(components), count))
    entries = [(number, 0) for number in running if number not in repeated]
    for block in taken:
        component = components[block.component]
        copies = [copy for copy in block.copies if count is None or copy <= count]
        entries += [(component[place], copy) for place in block.order for copy in copies]
    places = {entry: place for place, entry in enumerate(entries)}

    def needs_of(number: int, copy: int) -> Needs:
        return tuple(
            (places[need, copy if need in repeated else 0], condition)
            for need, condition in job.needs[number]
            if (need, copy if need in repeated else 0) in places
        )

    repetition = Repetition(seed=seed, components=names, count=count, seconds=seconds, blocks=len(taken))
    tasks = [copy_of(job.tasks[number], copy) if copy else job.tasks[number] for number, copy in entries]
    needs = [needs_of(number, copy) for number, copy in entries]
    return job.replace(tasks=tuple(tasks), needs=tuple(needs)), repetition


def _wanted(found: Iterator[Block], components: int, count: int | None) -> Iterator[Block]:
    """The blocks of all batches with so many copies; if None, until each component has had one."""
    if count is not None:
        last = -(-count // BATCH) * BATCH
        yield from takewhile(lambda block: block.first <= last, found)
        return
    seen: set[int] = set()
    while len(seen) < components:
        block = next(found)
        seen.add(block.component)
        yield block


def copy_of(instance: Instance, copy: int) -> Instance:
    """A copy of an instance: what has its name, or that of one of its groups, also has it with its number."""
    return instance.replace(
        name=copy_name(instance.name, copy),
        groups=copied_groups(instance.name, instance.groups, copy),
        copy=copy,
    )


def copy_name(name: str, copy: int) -> str:
    """The name of a copy: `task@3`."""
    return f"{name}@{copy}"


def copied_groups(name: str, groups: tuple[str, ...], copy: int) -> tuple[str, ...]:
    """The groups of a copy: those of its task, its task, and all groups once more with the copy's number.

    The one of the task's own matrix stays the last.
    """
    return (*groups, name, *(copy_name(group, copy) for group in groups))


def _repeated(job: Job, running: Sequence[int]) -> set[int]:
    """The tasks of which there are copies."""
    once: set[int] = set()
    pending = [number for number in running if job.tasks[number].task.daemon]
    while pending:
        number = pending.pop()
        if number not in once:
            once.add(number)
            pending += [need for need, _ in job.needs[number]]
    return {number for number in running if number not in once}


def _refuse_names(job: Job, running: Sequence[int], repeated: set[int]) -> None:
    """Raise UsageError if a task has the name that a copy would have."""
    names = {job.tasks[number].name for number in repeated}
    for number in running:
        name, _, copy = job.tasks[number].name.rpartition("@")
        if name in names and copy.isdecimal():
            raise UsageError(
                f"cannot repeat {quote(name)}: its copies have names such as {quote(f'{name}@1')}, "
                f"like the task {quote(job.tasks[number].name)}; rename that task"
            )


def _components(job: Job, repeated: set[int]) -> list[list[int]]:
    """The repeated tasks, those that depend on each other together; in file order."""
    parent = {number: number for number in repeated}

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    for number in repeated:
        for need, _ in job.needs[number]:
            if need in repeated:
                parent[root(number)] = root(need)
    found: dict[int, list[int]] = {}
    for number in sorted(repeated):
        found.setdefault(root(number), []).append(number)
    return list(found.values())

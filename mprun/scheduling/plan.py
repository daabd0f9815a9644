"""Job -> Plan: what would run, in which order, under which numbers; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mprun.frozen import Frozen
from mprun.jobfile.dependencies import NameIndex
from mprun.jobfile.references import Reference, Resolver, Template, is_true, references, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.jobfile.model import Instance, Job, Needs, Task

# How many tasks run at once where nobody said (DESIGN.md section 1).
LEAST_PARALLEL = 32
PARALLEL_PER_CPU = 4


class Reused(Frozen):
    """How a task ended in the run that this one resumes: it is not run again."""

    outcome: str
    attempts: int
    reason: str = ""


class PlannedTask(Frozen):
    """A task of the plan; `needs` and `needed_by` are places in the plan, from 0, and conditions.

    It is one instance of `task`, with `values` for its axes. `late` is whether it refers to
    what only the run will tell; `skipped` whether its `when` is known to be false; `reused`
    is its end where it is not to be run again.
    """

    name: str
    groups: tuple[str, ...] = ()
    task: Task
    values: tuple[Any, ...] = ()
    start_method: str
    late: bool = False
    skipped: bool = False
    reused: Reused | None = None
    needs: Needs = ()
    needed_by: Needs = ()


class Priorities(Protocol):
    """Says which of the tasks that could start goes first: the one with the highest rank."""

    def of(self, number: int) -> int:
        """The rank of a task of the plan, by its place."""

    def of_instance(self, group: int, name: str) -> int:
        """The rank of a task that came about during the run, as an instance of the task `group`."""


class PlannedJoin(Frozen):
    """An entry of the join order: a task's place in the plan, from 0, and seconds to wait."""

    task: int
    timeout: float | None = None


class Plan(Frozen):
    """What a run will do, decided before anything starts.

    `max_concurrency` is how many tasks can run at the same time at most, daemons included;
    `mode` is `parallel` where every one of them can have a core of its own. `reused` has
    the ends of an earlier run's tasks by name, also of those that come about on the way.
    `priorities` say who goes first of those that could start; where None, the order of the file does.
    """

    job: Job
    tasks: tuple[PlannedTask, ...]
    join: tuple[PlannedJoin, ...]
    start_method: str
    max_parallel: int
    cpus: int
    max_concurrency: int
    mode: str
    reused: dict[str, Reused]
    priorities: Priorities | None = None


def plan_tasks(
    job: Job,
    *,
    cpus: int,
    default_method: str,
    max_parallel: int | None = None,
    start_method: str | None = None,
    selection: Sequence[int] | None = None,
    reused: Mapping[str, Reused] | None = None,
) -> Plan:
    """Plan a checked job. `max_parallel` and `start_method` go before what the job says.

    `selection` has the places of the tasks that are wanted, in their order; all where None.
    What is not among them is not waited for. `reused` has the ends, by name, of what an
    earlier run has ended; a daemon is started again all the same.
    """
    ends = reused or {}
    method = start_method or job.start_method or default_method
    slots = max_parallel or job.max_parallel or max(LEAST_PARALLEL, PARALLEL_PER_CPU * cpus)
    chosen = range(len(job.tasks)) if selection is None else selection
    needs = list(job.needs) if selection is None else _among(job.needs, selection)
    needed_by = _inverted(needs)
    traits = _Traits()
    tasks = tuple(
        PlannedTask(
            name=instance.name,
            groups=instance.groups,
            task=instance.task,
            values=instance.values,
            # An option for the whole run beats the job; a task's own key beats the job's.
            start_method=_method(instance.task, start_method, method),
            needs=needs[number],
            needed_by=needed_by[number],
            late=traits.late(instance),
            skipped=traits.skipped(instance),
            reused=None if instance.task.daemon else ends.get(instance.name),
        )
        for number, instance in enumerate(job.tasks[place] for place in chosen)
    )
    daemons = sum(planned.task.daemon for planned in tasks)
    # How many a list will have that a task returns, nobody knows yet.
    many = any(planned.task.foreach is not None for planned in tasks)
    max_concurrency = min(slots if many else len(tasks) - daemons, slots) + daemons
    return Plan(
        job=job,
        tasks=tasks,
        join=_join_order(job, tasks),
        start_method=method,
        max_parallel=slots,
        cpus=cpus,
        max_concurrency=max_concurrency,
        mode="parallel" if max_concurrency <= cpus else "concurrent",
        reused=dict(ends),
    )


def is_crowded(plan: Plan) -> bool:
    """Whether tasks may have to wait for each other's places or tokens, so that their order matters.

    Where one runs at a time, none is better than another, and that of the file is meant.
    """
    if plan.max_parallel == 1:
        return False
    takers = 0
    claimed: dict[str, int] = {}
    for planned in plan.tasks:
        if planned.skipped or planned.reused is not None:
            continue
        takers += not planned.task.daemon
        if takers > plan.max_parallel or planned.task.foreach is not None:
            return True
        for name, count in planned.task.resources.items():
            claimed[name] = claimed.get(name, 0) + count
    return any(count > plan.job.resources[name] for name, count in claimed.items())


def _method(task: Task, asked: str | None, of_job: str) -> str:
    # A command is forked and then becomes something else, whatever targets are.
    return "fork" if task.command is not None else asked or task.start_method or of_job


def plan_instance(
    instance: Instance, group: PlannedTask, reused: Mapping[str, Reused] | None = None
) -> PlannedTask:
    """The plan of a task that came about during the run, as one of `group`'s instances."""
    return PlannedTask(
        name=instance.name,
        groups=instance.groups,
        task=instance.task,
        values=instance.values,
        start_method=group.start_method,
        needed_by=group.needed_by,
        late=True,
        reused=None if instance.task.daemon else (reused or {}).get(instance.name),
    )


class _Traits:
    """What is known of instances before the run; found once for all that share a task."""

    def __init__(self) -> None:
        self._late: dict[int, bool] = {}

    def late(self, instance: Instance) -> bool:
        task = instance.task
        late = self._late.get(id(task)) if task.refers else False
        if late is None:
            nodes = [task.when, task.foreach, task.args, task.kwargs, task.env, task.command, task.cwd]
            lookup = Resolver(task.scope, task.axes, instance.values)
            late = any(True for _ in references(resolve([*nodes, *task.inherited_conditions], lookup)))
            self._late[id(task)] = late
        return late

    def skipped(self, instance: Instance) -> bool:
        task = instance.task
        if task.when is True and not task.inherited_conditions:
            return False
        lookup = Resolver(task.scope, task.axes, instance.values, reveal=True)
        conditions = (resolve(node, lookup) for node in (*task.inherited_conditions, task.when))
        return any(
            not isinstance(known, (Reference, Template)) and not is_true(known) for known in conditions
        )


def _among(needs: Sequence[Needs], selection: Sequence[int]) -> list[Needs]:
    """What the selected tasks need of each other, by their places among them."""
    places = {number: place for place, number in enumerate(selection)}
    return [
        tuple((places[need], condition) for need, condition in needs[number] if need in places)
        for number in selection
    ]


def _inverted(needs: list[Needs]) -> list[Needs]:
    """Who needs each task. Equal ones are the same value: of a matrix there may be very many."""
    inverted: dict[int, list[tuple[int, str]]] = {}
    pairs: dict[tuple[int, str], tuple[int, str]] = {}
    for number, before in enumerate(needs):
        for need, condition in before:
            pair = (number, condition)
            inverted.setdefault(need, []).append(pairs.setdefault(pair, pair))
    shared: dict[Needs, Needs] = {}
    found = (tuple(inverted.get(number, ())) for number in range(len(needs)))
    return [shared.setdefault(after, after) for after in found]


def _join_order(job: Job, tasks: tuple[PlannedTask, ...]) -> tuple[PlannedJoin, ...]:
    if job.join is None:
        return tuple(
            PlannedJoin(task=number) for number, planned in enumerate(tasks) if not planned.task.daemon
        )
    names = NameIndex(tasks, job.empty)
    found: dict[int, float | None] = {}
    for entry in job.join:
        # What was not selected is not there to be joined.
        for number in names.resolve(entry.task):
            found.setdefault(number, entry.timeout)
    return tuple(PlannedJoin(task=number, timeout=timeout) for number, timeout in found.items())


def start_order(plan: Plan) -> list[int]:
    """The order in which tasks would start if each ended at once: by file, dependencies first."""
    from heapq import heappop, heappush

    waiting = [len(planned.needs) for planned in plan.tasks]
    ready = [number for number, count in enumerate(waiting) if count == 0]
    order = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for after, _ in plan.tasks[number].needed_by:
            waiting[after] -= 1
            if waiting[after] == 0:
                heappush(ready, after)
    return order

"""Plans a job: which tasks would run, under which numbers, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.frozen import MIN_TO_COMPILE, Frozen
from mprun.jobfile.model import EXPANDED
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import Reference, Template
from mprun.jobfile.resolution import Resolver, is_true, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from mprun.jobfile.model import Instance, Job, Needs, Task
    from mprun.scheduling.partition import Division
    from mprun.scheduling.repetition import Repetition

    # For types alone: nothing looks at it during a run.
    class Priorities(Protocol):
        """Decides which of the tasks that could start goes first: the one with the highest priority."""

        def of(self, number: int) -> int:
            """The priority of a task, by its index in the plan."""

        def of_instance(self, group: int, name: str) -> int:
            """The priority of an instance that joins the run; `group` is the index of its task."""


# The default of `max_parallel`: this many per CPU, but at least so many.
MIN_PARALLEL = 32
PARALLEL_PER_CPU = 4


class Reused(Frozen):
    """How a task ended in the run that this one resumes; it does not run again."""

    outcome: str
    attempts: int
    reason: str = ""


class PlannedTask(Frozen):
    """A task of the plan: one instance of `task`, with `values` for its axes.

    `needs` and `needed_by` are its dependencies and its dependents: indices in the plan, from 0,
    with a condition each. `late` says whether something about the task is found out only when it would
    start, such as a result that it refers to, and `skipped` whether its `when` is known to be false.
    `reused` is its outcome if it does not run again. `copy` is the number of a copy, from 1, if the task
    is repeated.
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
    copy: int = 0


class PlannedJoin(Frozen):
    """An entry of the join order: a task's index in the plan, and the seconds to wait for it."""

    task: int
    timeout: float | None = None


class Plan(Frozen):
    """What a run will do, decided before anything starts.

    `max_concurrency` is the highest number of tasks that can run at the same time, daemons
    included; `mode` is `sequential` if that is one, `parallel` if each of them can have a core of its
    own, else `concurrent`.
    `flaky` is what a flaky task means for the run, whatever the files say; None for what they say.
    `reused` has the outcomes of an earlier run by task name, also of instances that are created
    during the run. `priorities` decide which ready task goes first; if None, the order of the file
    does. `cwd` is the directory of the main process, and so of the tasks without one; None is the
    current directory. `repetition` says how its tasks are repeated, None if they are not, and
    `division` how they were divided among shards, of which this is one. No task is skipped as
    unchanged if an option, `force`, says so.
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
    flaky: str | None = None
    priorities: Priorities | None = None
    cwd: str | None = None
    repetition: Repetition | None = None
    division: Division | None = None
    force: str = ""

    def fails_if_flaky(self, task: Task) -> bool:
        """Whether it fails the run if this task succeeds only after it was retried."""
        return (self.flaky or task.flaky or self.job.flaky) == "fail"


def plan_tasks(
    job: Job,
    *,
    cpus: int,
    default_method: str,
    max_parallel: int | None = None,
    start_method: str | None = None,
    flaky: str | None = None,
    selection: Sequence[int] | None = None,
    reused: Mapping[str, Reused] | None = None,
) -> Plan:
    """Plan a checked job. `max_parallel`, `start_method` and `flaky` override those of the job.

    `selection` has the indices of the selected tasks, in ascending order; None selects all. The
    plan has no dependencies on other tasks. `reused` has the outcomes, by name, of tasks that an
    earlier run has finished; daemons start again all the same.
    """
    outcomes = reused or {}
    method = start_method or job.start_method or default_method
    slots = max_parallel or job.max_parallel or max(MIN_PARALLEL, PARALLEL_PER_CPU * cpus)
    chosen = range(len(job.tasks)) if selection is None else selection
    needs = list(job.needs) if selection is None else _among(job.needs, selection)
    _forget_expanded(needs, [job.tasks[index] for index in chosen])
    needed_by = _inverted(needs)
    if len(chosen) >= MIN_TO_COMPILE:
        PlannedTask.compile_init()
        PlannedJoin.compile_init()
    traits = Traits()
    tasks = tuple(
        PlannedTask(
            name=instance.name,
            groups=instance.groups,
            task=instance.task,
            values=instance.values,
            # The option for the whole run overrides the key of the task, and that the key of the job.
            start_method=_method(instance.task, start_method, method),
            needs=needs[number],
            needed_by=needed_by[number],
            late=traits.late(instance),
            skipped=traits.skipped(instance),
            reused=None if instance.task.daemon else outcomes.get(instance.name),
            copy=instance.copy,
        )
        for number, instance in enumerate(job.tasks[index] for index in chosen)
    )
    max_concurrency = max_concurrency_of(tasks, slots, job.resources)
    return Plan(
        job=job,
        tasks=tasks,
        join=_join_order(job, tasks),
        start_method=method,
        max_parallel=slots,
        cpus=cpus,
        max_concurrency=max_concurrency,
        mode=mode_of(max_concurrency, cpus),
        reused=dict(outcomes),
        flaky=flaky,
    )


def mode_of(max_concurrency: int, cpus: int) -> str:
    """See `Plan`."""
    if max_concurrency == 1:
        return "sequential"
    return "parallel" if max_concurrency <= cpus else "concurrent"


def max_concurrency_of(tasks: Sequence[PlannedTask], slots: int, tokens: Mapping[str, int]) -> int:
    """See `Plan`."""
    if any(planned.needs or planned.task.resources or planned.task.foreach is not None for planned in tasks):
        # Many jobs have none of these.
        from mprun.scheduling.concurrency import most_together

        return most_together(tasks, slots, tokens)
    running = [planned for planned in tasks if not planned.skipped and planned.reused is None]
    daemons = sum(planned.task.daemon for planned in running)
    return max(1, min(len(running) - daemons, slots) + daemons)


def is_crowded(plan: Plan) -> bool:
    """Whether tasks may have to wait for slots or tokens, so that their order matters.

    If only one runs at a time, no order is shorter than another, and the order of the file counts.
    """
    if plan.max_parallel == 1 or plan.repetition is not None:
        # The seed decides about the order of copies.
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
    # A command is always forked, and the fork becomes the program.
    return "fork" if task.command is not None else asked or task.start_method or of_job


def _forget_expanded(needs: list[Needs], tasks: Sequence[Instance]) -> None:
    """Take out the dependencies on the instances of tasks being known where they are known before the run."""
    for number, instance in enumerate(tasks):
        if instance.task.foreach is not None:
            needs[number] = tuple(
                (need, condition)
                for need, condition in needs[number]
                if condition != EXPANDED or tasks[need].task.foreach is not None
            )


def _has_references(node: Any) -> bool:
    """Whether a resolved tree still has a reference, however deep the values in it are."""
    # Each mapping and list is looked at once: many arguments may refer to one long list.
    seen: set[int] = set()
    nodes = [node]
    while nodes:
        node = nodes.pop()
        if isinstance(node, (Reference, Template)):
            return True
        if isinstance(node, (dict, list, tuple)) and id(node) not in seen:
            seen.add(id(node))
            nodes += [*node, *node.values()] if isinstance(node, dict) else node
    return False


class Traits:
    """What is known of instances before the run, found once for the instances of one task."""

    def __init__(self) -> None:
        self._late: dict[int, bool] = {}

    def late(self, instance: Instance) -> bool:
        task = instance.task
        if task.is_compared:
            return True
        late = self._late.get(id(task)) if task.refers else False
        if late is None:
            # An instance that has its values needs its list no more.
            foreach = None if instance.values else task.foreach
            nodes = [task.when, foreach, task.args, task.kwargs, task.env, task.command, task.cwd]
            lookup = Resolver(task.scope, task.axes, instance.values)
            late = _has_references(resolve([*nodes, *task.inherited_conditions], lookup))
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
    """The dependencies among the selected tasks, by their indices among these."""
    indices = {number: index for index, number in enumerate(selection)}
    return [
        tuple((indices[need], condition) for need, condition in needs[number] if need in indices)
        for number in selection
    ]


def _inverted(needs: list[Needs]) -> list[Needs]:
    """The dependents of each task. Equal values are shared: a matrix may have very many."""
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
        # Tasks that were not selected are not joined.
        for number in names.resolve(entry.task):
            found.setdefault(number, entry.timeout)
    return tuple(PlannedJoin(task=number, timeout=timeout) for number, timeout in found.items())


def start_order(plan: Plan) -> list[int]:
    """The order in which tasks would start if each ended at once: that of the file, dependencies first."""
    from heapq import heappop, heappush

    waiting = [len(planned.needs) for planned in plan.tasks]
    if not any(waiting):
        return list(range(len(waiting)))
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

"""Job -> Plan: what would run, in which order, under which numbers; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.value import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mprun.job import Job, Task

# How many tasks run at once where nobody said (DESIGN.md section 1).
LEAST_PARALLEL = 32
PARALLEL_PER_CPU = 4


# Places in the plan, from 0, each with the condition that is waited for.
Needs = tuple[tuple[int, str], ...]


class PlannedTask(Value):
    """A task of the plan; `needs` and `needed_by` are places in the plan, from 0, and conditions."""

    task: Task
    start_method: str
    needs: Needs = ()
    needed_by: Needs = ()


class PlannedJoin(Value):
    """An entry of the join order: a task's place in the plan, from 0, and seconds to wait."""

    task: int
    timeout: float | None = None


class Plan(Value):
    """What a run will do, decided before anything starts.

    `at_once` is how many tasks can run at the same time at most, daemons included;
    `mode` is `parallel` where every one of them can have a core of its own.
    """

    job: Job
    tasks: tuple[PlannedTask, ...]
    join: tuple[PlannedJoin, ...]
    start_method: str
    max_parallel: int
    cpus: int
    at_once: int
    mode: str


def plan_tasks(
    job: Job,
    *,
    cpus: int,
    default_method: str,
    max_parallel: int | None = None,
    start_method: str | None = None,
) -> Plan:
    """Plan a checked job. `max_parallel` and `start_method` go before what the job says."""
    method = start_method or job.start_method or default_method
    places = max_parallel or job.max_parallel or max(LEAST_PARALLEL, PARALLEL_PER_CPU * cpus)
    numbers = {task.name: number for number, task in enumerate(job.tasks)}
    needs = [_needs(task, numbers) for task in job.tasks]
    needed_by = _inverted(needs)
    daemons = sum(task.daemon for task in job.tasks)
    at_once = min(len(job.tasks) - daemons, places) + daemons
    return Plan(
        job=job,
        tasks=tuple(
            PlannedTask(
                task=task,
                # An option for the whole run beats the job; a task's own key beats the job's.
                start_method=start_method or task.start_method or method,
                needs=needs[number],
                needed_by=needed_by[number],
            )
            for number, task in enumerate(job.tasks)
        ),
        join=_join_order(job, numbers),
        start_method=method,
        max_parallel=places,
        cpus=cpus,
        at_once=at_once,
        mode="parallel" if at_once <= cpus else "concurrent",
    )


def _needs(task: Task, numbers: dict[str, int]) -> Needs:
    # A task may be waited for twice: by its name for one thing, by a pattern for another.
    found: dict[tuple[int, str], None] = {}
    for dependency in task.depends_on:
        for name in expand(dependency.task, numbers):
            if name != task.name:
                found[numbers[name], dependency.condition] = None
    return tuple(found)


def expand(name: str, names: Collection[str]) -> list[str]:
    """The tasks that a name in `depends_on` means: itself, or all that its `*` and `?` match."""
    if name in names or not {"*", "?"} & set(name):
        return [name]
    # Not fnmatch: it takes the brackets of a matrix task's name for a set of characters.
    # As there, each piece behind a `*` is found once and for all, so no pattern takes long.
    first, *rest = (re.escape(piece).replace(r"\?", ".") for piece in name.split("*"))
    pieces = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    last = f".*{rest[-1]}" if rest else ""
    matches = re.compile(f"{first}{pieces}{last}", re.DOTALL).fullmatch
    return [other for other in names if matches(other)]


def _inverted(needs: list[Needs]) -> list[Needs]:
    inverted: list[list[tuple[int, str]]] = [[] for _ in needs]
    for number, before in enumerate(needs):
        for need, condition in before:
            inverted[need].append((number, condition))
    return [tuple(after) for after in inverted]


def _join_order(job: Job, numbers: dict[str, int]) -> tuple[PlannedJoin, ...]:
    if job.join is None:
        return tuple(PlannedJoin(task=number) for number, task in enumerate(job.tasks) if not task.daemon)
    return tuple(PlannedJoin(task=numbers[entry.task], timeout=entry.timeout) for entry in job.join)


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


def find_cycle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """A path of names that leads back to its first, or [] where there is none.

    Iterative, so a chain of any length is no deeper than one of two. Names that are not
    keys of `needs` are passed over.
    """
    done: set[str] = set()
    for root in needs:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(name)
            elif name in on_path:
                return [*path[path.index(name) :], name]
            elif name not in done and name in needs:
                path.append(name)
                on_path.add(name)
                stack.append((name, True))
                stack.extend((need, False) for need in reversed(needs[name]))
    return []


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as one JSON object, for `mprun plan --format json`."""
    names = [planned.task.name for planned in plan.tasks]
    return {
        "job": plan.job.name,
        "file": plan.job.path,
        "start_method": plan.start_method,
        "fail_fast": plan.job.fail_fast,
        "timeout": plan.job.timeout,
        "max_parallel": plan.max_parallel,
        "cpus": plan.cpus,
        "at_once": plan.at_once,
        "mode": plan.mode,
        "order": [names[number] for number in start_order(plan)],
        "join": [{"task": names[entry.task], "timeout": entry.timeout} for entry in plan.join],
        "tasks": [_task_to_json(planned) for planned in plan.tasks],
    }


def _task_to_json(planned: PlannedTask) -> dict[str, Any]:
    task = planned.task
    return {
        "name": task.name,
        "target": task.target,
        "args": list(task.args),
        "kwargs": task.kwargs,
        "daemon": task.daemon,
        "retry": task.retry.to_dict(),
        "timeout": task.timeout,
        "stop": task.stop.to_dict(),
        "allow_failure": task.allow_failure,
        "depends_on": {dependency.task: dependency.condition for dependency in task.depends_on},
        "start_method": planned.start_method,
        "cwd": task.cwd,
        "env": sorted(task.env),
        "tags": list(task.tags),
        "description": task.description,
    }

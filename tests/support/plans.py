"""Jobs and plans for tests that need no file."""

from __future__ import annotations

from collections.abc import Collection

from mprun.jobfile.dependencies import link
from mprun.jobfile.model import Dependency, Instance, Job, JoinEntry, Origin, Task
from mprun.jobfile.names import NameIndex
from mprun.jobfile.references import Scope
from mprun.jobfile.syntax.document import parse
from mprun.scheduling.plan import Plan, plan_tasks

_SCOPE = Scope(params={}, env={})
ORIGIN = Origin(document=parse("tasks: []", "test"), path=())


def task(name: str, number: int, *, daemon: bool = False, after: tuple[str, ...] = (), **more) -> Task:
    """A task; `after` has the names of its dependencies, or `name:condition`."""
    pairs = (need.partition(":") for need in after)
    needs = tuple(Dependency(task=need, condition=condition or None) for need, _, condition in pairs)
    return Task(
        name=name,
        position=number + 1,
        daemon=daemon,
        depends_on=needs,
        **{
            "document": ORIGIN.document,
            "target": "m:f",
            "kwargs": {},
            "env": {},
            "scope": _SCOPE,
            "resources": {},
            **more,
        },
    )


def job(tasks: tuple[Task, ...], join: list[tuple[str, float | None]] | None = None, **more) -> Job:
    order = None if join is None else tuple(JoinEntry(task=name, timeout=timeout) for name, timeout in join)
    instances = tuple(Instance(name=task.name, task=task) for task in tasks)
    return Job(
        name="test",
        path="test",
        files=(),
        tasks=instances,
        needs=link(instances, NameIndex(instances)),
        join=order,
        origin=ORIGIN,
        **{"resources": {}, "params": {}, "env": {}, "recipe_env": {}, **more},
    )


def plan(
    spec: dict[str, tuple[str, ...]],
    *,
    daemons: tuple[str, ...] = (),
    join: list[tuple[str, float | None]] | None = None,
    slots: int = 100,
    cpus: int = 2,
    late: Collection[str] = (),
    skipped: Collection[str] = (),
    keys: dict[str, dict] | None = None,
    **more,
) -> Plan:
    """A plan of these tasks, in this order: `spec` has the dependencies of each task by its name.

    `late` and `skipped` have the names of those that are so, whatever they refer to. `keys`
    has more fields of some tasks, by name; `more` has fields of the job.
    """
    tasks = tuple(
        task(name, number, daemon=name in daemons, after=after, **(keys or {}).get(name, {}))
        for number, (name, after) in enumerate(spec.items())
    )
    made = plan_tasks(job(tasks, join, **more), cpus=cpus, default_method="fork", max_parallel=slots)
    if not late and not skipped:
        return made
    marked = [
        planned.replace(late=planned.name in late, skipped=planned.name in skipped) for planned in made.tasks
    ]
    return made.replace(tasks=tuple(marked))

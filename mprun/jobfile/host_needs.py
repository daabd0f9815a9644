"""Compares what tasks ask of the workers on which they run, by `host`, with what there is.

Few jobs have the key, so a start does not import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mprun.diagnostics import quote
from mprun.errors import JobFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Task
    from mprun.jobfile.names import Named

    class Planned(Named, Protocol):
        """A task of a plan; one that is `reused` or `skipped` does not run."""

        @property
        def reused(self) -> object: ...
        @property
        def skipped(self) -> object: ...
        @property
        def late(self) -> bool: ...
        @property
        def needs(self) -> Sequence[tuple[int, str]]: ...


Needs = tuple[tuple[str, float], ...]
# No one would read more.
_MAX_DIAGNOSTICS, _MAX_WORKERS = 100, 10
# Sums of fractions are a little off.
_TOLERANCE = 1e-9
# How many places are tried for what is held together, and for how many daemons; beyond that it is possible.
_MAX_TRIES, _MAX_HELD = 1_000, 500


def fits(needed: Mapping[str, float], free: Mapping[str, float]) -> bool:
    """Whether there is enough of each resource."""
    return all(number <= free.get(name, 0.0) + _TOLERANCE for name, number in needed.items())


def some_needs(node: Any) -> dict[str, float]:
    """What is known of `host` before there are instances: 0 of what each has a number of its own of."""
    if not isinstance(node, dict):
        return {str(node): 0.0}
    return {str(name): 0.0 if isinstance(number, str) else number for name, number in node.items()}


def amounts(resources: Mapping[str, float]) -> str:
    """Resources in words: `gpu: 2, memory: 0.5`."""
    return ", ".join(f"{name}: {number:g}" for name, number in sorted(resources.items()))


def _asking(tasks: Iterable[Planned]) -> Iterator[tuple[Task, Mapping[str, float]]]:
    """The tasks that ask for something, each once for all of its instances, with what they ask for."""
    for task in {id(one.task): one.task for one in _running(tasks)}.values():
        if task.host:
            yield task, task.host


def _running(tasks: Iterable[Planned]) -> Iterator[Planned]:
    return filter(_runs, tasks)


def _runs(one: Planned) -> bool:
    return one.reused is None and not one.skipped


def _diagnostic(task: Task, message: str, help: str) -> Diagnostic:
    from mprun.jobfile import locate

    return locate.task_diagnostic(task, ("host",), message, help, key=True)


def refuse_without_hosts(tasks: Iterable[Planned]) -> None:
    """Refuse tasks that ask for something, because they would run on this machine. Raises JobFileError."""
    help = "add this option, or remove `host`"
    found = [_diagnostic(task, "`host` needs `--executor dask`", help) for task, _ in _asking(tasks)]
    if found:
        raise JobFileError(found[:_MAX_DIAGNOSTICS])


def refuse_unmet(tasks: Sequence[Planned], workers: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Refuse tasks for which no worker has enough, or not beside what daemons hold until the job ends.

    `workers` has the name of each, and what it has. Raises JobFileError.
    """
    found = []
    for task, needed in _asking(tasks):
        if not any(fits(needed, resources) for _, resources in workers):
            message = (
                f"task {quote(task.name)} needs a worker with {quote(amounts(needed))}, and there is none"
            )
            found.append(_diagnostic(task, message, _what_there_is(needed, workers)))
    found = found or list(_beside_daemons(tasks, workers))
    if found:
        raise JobFileError(found[:_MAX_DIAGNOSTICS])


def _what_there_is(needed: Mapping[str, float], workers: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    option = " ".join(f"{name}={number:g}" for name, number in sorted(needed.items()))
    having = [f"{name} has {quote(amounts(resources))}" for name, resources in workers if resources]
    there = "; ".join(having[:_MAX_WORKERS]) if having else "no worker has any resources"
    return f'{there}; start one with `dask worker --resources "{option}"`'


def _beside_daemons(
    tasks: Sequence[Planned], workers: Sequence[tuple[str, Mapping[str, float]]]
) -> Iterator[Diagnostic]:
    """The tasks that could never start, however the daemons are spread over the workers."""
    holding = {number: _needs(one) for number, one in enumerate(tasks) if _holds_for_certain(one)}
    if not holding:
        return
    having = [dict(resources) for _, resources in workers]
    if not _can_hold(list(holding.values()), having):
        together = quote(amounts(_sum(holding.values())))
        message = f"the daemons hold {together} together, and no workers have that to spare"
        for task in {id(tasks[number].task): tasks[number].task for number in holding}.values():
            yield _diagnostic(task, message, _what_there_is(task.host or {}, workers))
        return
    later = _later(tasks, list(holding))
    # What daemons hold beside which there is no room, by what a task needs and which daemons start after it.
    beside: dict[tuple[Needs, int], str] = {}
    refused: set[int] = set()
    for number, one in enumerate(tasks):
        task = one.task
        if task.daemon or not task.host or not _runs(one) or id(task) in refused:
            continue
        key = _needs(one), later[number]
        if key not in beside:
            held = [needs for bit, needs in enumerate(holding.values()) if not later[number] >> bit & 1]
            beside[key] = "" if _can_hold([*held, key[0]], having) else amounts(_sum(held))
        if beside[key]:
            refused.add(id(task))
            message = f"it could never start: the daemons hold {quote(beside[key])} until the job ends"
            yield _diagnostic(task, message, _what_there_is(task.host, workers))


def _needs(one: Planned) -> Needs:
    return tuple(sorted((one.task.host or {}).items()))


def _sum(held: Iterable[Needs]) -> dict[str, float]:
    together: dict[str, float] = {}
    for needs in held:
        for name, number in needs:
            together[name] = together.get(name, 0.0) + number
    return together


def _holds_for_certain(one: Planned) -> bool:
    """Whether it is a daemon that is known to start if all goes well, and needs something of its host."""
    task = one.task
    if not task.daemon or not task.host or not _runs(one):
        return False
    is_conditional = task.when is not True or task.inherited_conditions
    return not (one.late and is_conditional) and all(condition != "failed" for _, condition in one.needs)


def _later(tasks: Sequence[Planned], daemons: Sequence[int]) -> list[int]:
    """For each task, the daemons that start only after it, as bits: the first one is 1."""
    # Beyond that, what a task could start beside is not found out in any case.
    own = {number: 1 << bit for bit, number in enumerate(daemons[:_MAX_HELD])}
    later = [0] * len(tasks)
    dependents = [0] * len(tasks)
    for one in tasks:
        for need, _ in one.needs:
            dependents[need] += 1
    done = [number for number, count in enumerate(dependents) if not count]
    while done:
        number = done.pop()
        for need, _ in tasks[number].needs:
            later[need] |= later[number] | own.get(number, 0)
            dependents[need] -= 1
            if not dependents[need]:
                done.append(need)
    return later


def _can_hold(items: Sequence[Needs], having: Sequence[Mapping[str, float]]) -> bool:
    """Whether there is a way to give each of these to one of the workers at the same time."""
    # The largest first: there are fewer places for them.
    left = sorted(items, key=lambda needs: sum(number for _, number in needs), reverse=True)
    free = [dict(each) for each in having]
    tries = 0

    def place(number: int) -> bool:
        nonlocal tries
        tries += 1
        if number in (len(left), _MAX_HELD) or tries > _MAX_TRIES:
            return True
        needs = dict(left[number])
        tried: list[dict[str, float]] = []
        for each in free:
            # Of workers with the same to spare, one is enough.
            if each in tried or not fits(needs, each):
                continue
            tried.append(dict(each))
            for name, amount in needs.items():
                each[name] -= amount
            if place(number + 1):
                return True
            each.update(tried[-1])
        return False

    return place(0)

"""Compares what tasks ask of the workers on which they run, by `host`, with what there is.

Few jobs have the key, so a start does not import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.errors import JobFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Task
    from mprun.jobfile.names import Named

# No one would read more.
_MAX_DIAGNOSTICS, _MAX_WORKERS = 100, 10
# Sums of fractions are a little off.
_TOLERANCE = 1e-9


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


def _asking(tasks: Iterable[Named]) -> Iterator[tuple[Task, Mapping[str, float]]]:
    """The tasks that ask for something, each once for all of its instances, with what they ask for."""
    for task in {id(one.task): one.task for one in tasks}.values():
        if task.host:
            yield task, task.host


def _diagnostic(task: Task, message: str, help: str) -> Diagnostic:
    from mprun.jobfile import locate

    return locate.task_diagnostic(task, ("host",), message, help, key=True)


def refuse_without_hosts(tasks: Iterable[Named]) -> None:
    """Refuse tasks that ask for something, because they would run on this machine. Raises JobFileError."""
    help = "add this option, or remove `host`"
    found = [_diagnostic(task, "`host` needs `--executor dask`", help) for task, _ in _asking(tasks)]
    raise JobFileError(found[:_MAX_DIAGNOSTICS])


def refuse_unmet(tasks: Iterable[Named], workers: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Refuse tasks for which no worker has enough; `workers` has the name of each, and what it has.

    Raises JobFileError.
    """
    found = []
    for task, needed in _asking(tasks):
        if not any(fits(needed, resources) for _, resources in workers):
            message = (
                f"task {quote(task.name)} needs a worker with {quote(amounts(needed))}, and there is none"
            )
            found.append(_diagnostic(task, message, _what_there_is(needed, workers)))
    if found:
        raise JobFileError(found[:_MAX_DIAGNOSTICS])


def _what_there_is(needed: Mapping[str, float], workers: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    option = " ".join(f"{name}={number:g}" for name, number in sorted(needed.items()))
    having = [f"{name} has {quote(amounts(resources))}" for name, resources in workers if resources]
    there = "; ".join(having[:_MAX_WORKERS]) if having else "no worker has any resources"
    return f'{there}; start one with `dask worker --resources "{option}"`'

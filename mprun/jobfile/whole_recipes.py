"""A recipe that is taken as one: `retry` and `timeout` of a task with `uses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError
from mprun.jobfile import locate
from mprun.jobfile.dependencies import cycle_message, find_cycle
from mprun.jobfile.model import Origin, Retry, Whole
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mprun.jobfile.model import Instance, Needs, Task


def whole_of(instance: Instance, keys: Sequence[str], outer: Whole | None) -> Whole | None:
    """What the recipe that an instance uses has as a whole, by these of its own keys; None if nothing.

    `outer` is that of the recipe which it is part of itself. Raises JobFileError if there is one.
    """
    task = instance.task
    retry, timeout = task.retry if "retry" in keys else Retry(), task.timeout if "timeout" in keys else None
    if not retry.retries and timeout is None:
        return outer
    if outer is not None:
        message = (
            f"`{keys[0]}` is not allowed here: {quote(outer.name)}, which uses this file, is taken as one"
        )
        raise _refused(task, (keys[0],), message, "remove it here, or there")
    for key in ("exceptions", "exit_codes"):
        if getattr(retry, key):
            message = (
                f"`retry.{key}` is not allowed on a task with `uses`: each failure of its tasks is retried"
            )
            raise _refused(task, ("retry", key), message, "set it on the recipe's tasks")
    origin = Origin(document=task.origin.document, path=(*task.origin.path, keys[0]))
    return Whole(
        name=instance.name, retry=retry, timeout=timeout, allow_failure=task.allow_failure, origin=origin
    )


def refuse_unsuitable(task: Task, key: str, tasks: Collection[Instance]) -> None:
    """Raise JobFileError if these tasks of a recipe cannot be taken as one, as `key` of its user wants."""
    late = next((one for one in tasks if one.task.foreach is not None), None)
    if late is not None:
        message = (
            f"`{key}` is not supported here: the instances of {quote(late.name)} are not known before the run"
        )
        raise _refused(task, (key,), message, "set it on the recipe's tasks")
    if tasks and all(one.task.daemon for one in tasks):
        message = f"`{key}` is not allowed here: the recipe has only daemons, which end with the job"
        raise _refused(task, (key,), message, "set `restart` on them")


def waits_for_itself(tasks: Sequence[Instance], linked: Sequence[Needs]) -> Iterator[Diagnostic]:
    """The first cycle that there is only because others wait for all of a recipe that is taken as one."""
    shown = [one.name if one.task.whole is None else one.task.whole.name for one in tasks]
    graph: dict[str, list[str]] = {}
    for name, needs in zip(shown, linked, strict=True):
        graph.setdefault(name, []).extend(shown[need] for need, _ in needs if shown[need] != name)
    cycle = find_cycle(graph)
    whole = next((one.task.whole for one in tasks if one.task.whole and one.task.whole.name in cycle), None)
    if whole is None or whole.origin is None:
        return
    document, path = whole.origin.document, whole.origin.path
    yield Diagnostic(
        message=f"{cycle_message(cycle)}: what depends on a task of {quote(whole.name)} waits for all of it",
        source=document.source,
        span=span_of(document, path, key=True),
        help=f"remove one of these dependencies, or `{path[-1]}`",
    )


def _refused(task: Task, path: tuple[str, ...], message: str, help: str) -> JobFileError:
    return JobFileError([locate.task_diagnostic(task, path, message, help, key=True)])

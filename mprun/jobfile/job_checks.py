"""What is wrong with a job as a whole, and only its spelled out tasks tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.jobfile import locate
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.dependencies import NameIndex
    from mprun.jobfile.model import Job


def join_diagnostics(job: Job, names: NameIndex) -> Iterator[Diagnostic]:
    """Entries of the join order that mean no task: what only the spelled out tasks tell."""
    document = job.origin.document
    for number, entry in enumerate(job.join or ()):
        if not names.resolve(entry.task) and entry.task not in names.groups:
            path: tuple[str | int, ...] = ("join", number)
            if isinstance(document.root["join"][number], dict):  # type: ignore[index]
                path = (*path, "task")
            message, help = (
                f"unknown task {quote(entry.task)}",
                suggest(entry.task, list(names.all()), "tasks"),
            )
            yield Diagnostic(message=message, source=document.source, span=span_of(document, path), help=help)


def warnings(job: Job) -> Iterator[str]:
    """What may be meant, and is likely not: tasks that wait for the end of a daemon."""
    for task, needs in zip(job.tasks, job.needs, strict=True):
        for need, condition in needs if not task.task.daemon else ():
            other = job.tasks[need]
            if other.task.daemon and condition == "succeeded":
                name = quote(other.name)
                yield (
                    f"{quote(task.name)} waits for the daemon {name} to end, which may not happen before the "
                    f"job does; use `depends_on: {{{other.name}: ready}}` or `started`"
                )


def token_diagnostics(job: Job) -> Iterator[Diagnostic]:
    """Claims that can never be met, each once."""
    held: dict[str, int] = {}
    holders: dict[str, str] = {}
    seen: set[int] = set()
    for instance in job.tasks:
        for token, number in instance.task.resources.items() if instance.task.daemon else ():
            held[token] = held.get(token, 0) + number
            holders[token] = instance.name
    for task in (instance.task for instance in job.tasks):
        if id(task) in seen or not task.resources:
            continue
        seen.add(id(task))
        for token, number in task.resources.items():
            where = ("resources", token)
            if token not in job.resources:
                message = f"unknown token {quote(token)}"
                help = (
                    suggest(token, list(job.resources), "tokens")
                    or f"declare it: `resources: {{{token[:40]}: 1}}`"
                )
                yield locate.task_diagnostic(task, where, message, help, key=True)
            elif number > job.resources[token]:
                total = job.resources[token]
                yield locate.task_diagnostic(
                    task,
                    where,
                    f"it claims {number} of {quote(token)}, but the job has only {total}",
                    "claim fewer",
                )
            elif task.daemon and held[token] > job.resources[token]:
                total = job.resources[token]
                message = f"the daemons claim {held[token]} of {quote(token)}, but the job has only {total}"
                yield locate.task_diagnostic(
                    task, where, message, f"increase {quote(token)} in the job's `resources`"
                )
            elif not task.daemon and number + held.get(token, 0) > job.resources[token]:
                holder = quote(holders[token])
                message = f"it could never start: daemon {holder} holds {quote(token)} until the job ends"
                yield locate.task_diagnostic(
                    task, where, message, f"increase {quote(token)} in the job's `resources`"
                )

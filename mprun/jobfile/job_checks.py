"""Checks of a whole job, after its tasks are expanded."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, quote, suggest
from mprun.frozen import Frozen
from mprun.jobfile.dependencies import may_end
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mprun.jobfile.model import Job, Task
    from mprun.jobfile.names import Named, NameIndex

# Warnings about the files of a job that are shown.
_MAX_WARNINGS = 10


def join_diagnostics(job: Job, names: NameIndex) -> Iterator[Diagnostic]:
    """The entries of the join order that name no task."""
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


def early_warnings(job: Job) -> Iterator[tuple[str, Diagnostic | None]]:
    """The warnings about a job's files, and the first about its tasks: the rest is more of the same."""
    for diagnostic in job.warnings[:_MAX_WARNINGS]:
        yield diagnostic.message, diagnostic
    if len(job.warnings) > _MAX_WARNINGS:
        yield "there are more of these warnings", None
    for text in islice(_endless_waits(job), 1):
        yield text, None


def _endless_waits(job: Job) -> Iterator[str]:
    """What is valid but probably a mistake: tasks that wait for a daemon to end."""
    for task, needs in zip(job.tasks, job.needs, strict=True):
        for need, condition in needs if not task.task.daemon else ():
            other = job.tasks[need]
            if condition in ("finished", "failed") and not may_end(other.task):
                waiting, name = quote(task.name), quote(other.name)
                yield (
                    f"{waiting} waits for the daemon {name} to end, which may not happen before the job does;"
                    f" if {waiting} is a daemon too, the job does not wait for it"
                )


def daemons_alone(tasks: Sequence[Named], join: Collection[object] | None) -> str:
    """The warning about a job that waits for none of its tasks; empty if it waits for one."""
    if join or not tasks or not all(named.task.daemon for named in tasks):
        return ""
    # The last one often needs the others. Its name means all of its instances.
    name = tasks[-1].task.name
    return f"the job ends at once, because every task is a daemon; `join: [{name}]` waits for {quote(name)}"


class TokenShortage(Frozen):
    """A claim that can never be met: `claimed` of a token, while daemons hold `held` until the job ends."""

    task: Task
    token: str
    claimed: int
    held: int
    message: str
    help: str
    # Whether the name of the token is what is wrong.
    unknown: bool = False


def token_shortages(tasks: Iterable[Named], tokens: dict[str, int]) -> Iterator[TokenShortage]:
    """The claims of tasks that can never be met, each once; `tokens` has how many the job has of each."""
    tasks = list(tasks)
    held: dict[str, int] = {}
    holders: dict[str, str] = {}
    for named in tasks:
        for token, number in named.task.resources.items() if named.task.daemon else ():
            held[token] = held.get(token, 0) + number
            holders[token] = named.name
    # Instances share a task.
    claiming = {id(named.task): named.task for named in tasks if named.task.resources}
    for task in claiming.values():
        for token, claimed in task.resources.items():
            held_now = held.get(token, 0)
            found = _shortage(task, token, tokens, held_now, holders.get(token, ""))
            if found is not None:
                message, help = found
                yield TokenShortage(
                    task=task,
                    token=token,
                    claimed=claimed,
                    held=held_now,
                    message=message,
                    help=help,
                    unknown=token not in tokens,
                )


def _shortage(
    task: Task, token: str, tokens: dict[str, int], held: int, holder: str
) -> tuple[str, str] | None:
    """The message and the help about a claim that can never be met; None if it can."""
    shown, claimed, total = quote(token), task.resources[token], tokens.get(token)
    if total is None:
        return f"unknown token {shown}", unknown_token_help(token, tokens)
    if claimed > total:
        message = f"task {quote(task.name)} claims {claimed} of {shown}, but the job has only {total}"
        return message, "claim fewer"
    increase = f"increase {shown} in the job's `resources`"
    if task.daemon and held > total:
        return f"the daemons claim {held} of {shown}, but the job has only {total}", increase
    if not task.daemon and claimed + held > total:
        return f"it could never start: daemon {quote(holder)} holds {shown} until the job ends", increase
    return None


def unknown_token_help(token: str, tokens: Collection[str]) -> str:
    """How to fix a token that is not one of these."""
    return suggest(token, list(tokens), "tokens") or f"declare it: `resources: {{{token[:40]}: 1}}`"


def token_diagnostics(job: Job) -> Iterator[Diagnostic]:
    """The diagnostics of claims that can never be met."""
    for shortage in token_shortages(job.tasks, job.resources):
        from mprun.jobfile import locate

        where = ("resources", shortage.token)
        yield locate.task_diagnostic(
            shortage.task, where, shortage.message, shortage.help, key=shortage.unknown
        )


def shortage_of_new_tasks(new: Sequence[Named], known: Iterable[Named], tokens: dict[str, int]) -> str:
    """Why tasks that join a run claim tokens in vain, or make known tasks do so; empty if they do not."""
    if not any(named.task.resources for named in new):
        return ""
    own = {id(named.task) for named in new}
    for shortage in token_shortages([*new, *known], tokens):
        if id(shortage.task) in own:
            return shortage.message
        token, name = quote(shortage.token), quote(shortage.task.name)
        return f"its daemons would hold {shortage.held} of {token}, but {name} claims {shortage.claimed}"
    return ""

"""Selects tasks of a job by name and by tag, together with their dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import quote, suggest
from mprun.errors import NothingSelected
from mprun.jobfile.names import compile_glob

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mprun.jobfile.model import Job

# What names and tags are called on the command line, and as arguments of `mprun.plan_job`.
OPTIONS = ("-k", "-t")
_ARGUMENTS = ("names", "tags")


def select(
    job: Job, names: Sequence[str], tags: Sequence[str], *, with_dependencies: bool = True
) -> list[int] | None:
    """The indices of the selected tasks in the job, in its order; None selects all.

    A task is selected if it matches one of `names` (patterns with `*` and `?`; the name of a group
    means all of its tasks) and has one of `tags`, if there are any, or if a selected task depends
    on it. Raises NothingSelected if no task is.
    """
    if not names and not tags:
        return None
    selected = {number for number, task in enumerate(job.tasks) if _has(task.task.tags, tags)}
    if names:
        tests = [compile_glob(name) for name in names]
        selected = {
            number
            for number in selected
            if any(
                test(name) for test in tests for name in (job.tasks[number].name, *job.tasks[number].groups)
            )
        }
    if not selected:
        raise NothingSelected(no_match(job, names, tags, _ARGUMENTS))
    if with_dependencies:
        pending = list(selected)
        while pending:
            for need, _ in job.needs[pending.pop()]:
                if need not in selected:
                    selected.add(need)
                    pending.append(need)
    return sorted(selected)


def unmatched(
    job: Job, names: Sequence[str], tags: Sequence[str], called: tuple[str, str] = OPTIONS
) -> list[str]:
    """A message for each of `names` and `tags`, which are `called` so, that no task of the job matches."""
    known = [tag for task in job.tasks for tag in task.task.tags]
    known_names = _names(job)
    messages = [
        pattern_message(known_names, called[0], name) for name in names if not _matches_any(known_names, name)
    ]
    return messages + [
        f"no task matches {_given(called[1], tag)}" + _sentence(suggest(tag, set(known), "tags"))
        for tag in tags
        if tag not in known
    ]


def refuse_unknown(job: Job, words: Sequence[str]) -> None:
    """Raise NothingSelected for the first of `words`, names or patterns, that no task matches."""
    known = _names(job) if words else set()
    for word in words:
        if word not in job.empty and not _matches_any(known, word):
            meant = suggest(word, known, "tasks")
            if word.endswith((".yaml", ".yml")):
                meant = "one command runs one job file"
            raise NothingSelected(f"no task matches {quote(word)}" + _sentence(meant))


def pattern_message(known: Collection[str], called: str, pattern: str) -> str:
    """The error of an option or an argument whose pattern matches none of the known names of tasks."""
    wider = f"*{pattern}*"
    if not _matches_any(known, wider):
        meant = suggest(pattern, known, "tasks")
    elif called.startswith("-"):
        import shlex

        meant = f"did you mean {quote(f'{called} {shlex.quote(wider)}')}?"
    else:
        meant = f"did you mean {quote(wider)}?"
    return f"no task matches {_given(called, pattern)}" + _sentence(meant)


def _given(called: str, value: str) -> str:
    """A value as a user has given it."""
    return quote(f"{called} {value}") if called.startswith("-") else f"{quote(value)} of {quote(called)}"


def _sentence(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""


def _names(job: Job) -> set[str]:
    return {name for task in job.tasks for name in (task.name, *task.groups)}


def _matches_any(names: Collection[str], pattern: str) -> bool:
    return any(map(compile_glob(pattern), names))


def no_match(job: Job, names: Sequence[str], tags: Sequence[str], called: tuple[str, str] = OPTIONS) -> str:
    """The error of `names` and `tags`, which are `called` so, that select nothing together."""
    messages = unmatched(job, names, tags, called)
    if messages:
        return messages[0]
    if called == OPTIONS:
        asked = quote(" ".join([f"-k {name}" for name in names] + [f"-t {tag}" for tag in tags]))
    else:
        asked = f"both {quote(called[0])} and {quote(called[1])}"
    return f"no task matches {asked}: no task has both such a name and such a tag"


def _has(tags: Sequence[str], any_of: Sequence[str]) -> bool:
    return not any_of or not set(any_of).isdisjoint(tags)

"""Selects tasks of a job by name and by tag, together with their dependencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import quote, suggest
from mprun.errors import NothingSelected
from mprun.jobfile.names import compile_glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import Job


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
        raise NothingSelected(_no_match(job, names, tags))
    if with_dependencies:
        pending = list(selected)
        while pending:
            for need, _ in job.needs[pending.pop()]:
                if need not in selected:
                    selected.add(need)
                    pending.append(need)
    return sorted(selected)


def _no_match(job: Job, names: Sequence[str], tags: Sequence[str]) -> str:
    asked = [f"-k {name}" for name in names] + [f"-t {tag}" for tag in tags]
    meant = ""
    if len(asked) == 1:
        (word,) = (*names, *tags)
        kind = "tasks" if names else "tags"
        if names:
            known = {name for task in job.tasks for name in (task.name, *task.groups)}
        else:
            known = {tag for task in job.tasks for tag in task.task.tags}
        meant = suggest(word, known, kind)
    return f"no task matches {quote(' '.join(asked))}" + (f"; {meant}" if meant else "")


def _has(tags: Sequence[str], any_of: Sequence[str]) -> bool:
    return not any_of or not set(any_of).isdisjoint(tags)

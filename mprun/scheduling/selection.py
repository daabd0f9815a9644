"""Which tasks of a job are wanted: by name and by tag, with what they depend on; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import quote, suggest
from mprun.errors import NothingSelected
from mprun.jobfile.dependencies import compile_glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.jobfile.model import Job


def select(
    job: Job, names: Sequence[str], tags: Sequence[str], *, with_dependencies: bool = True
) -> list[int] | None:
    """The places of the wanted tasks in the job, in its order; None where all are.

    Wanted is what matches any of `names` (patterns of `*` and `?`; a group's name means all
    of its tasks) and has any of `tags`, where they are given, and what that depends on.
    Raises NothingSelected where none is.
    """
    if not names and not tags:
        return None
    wanted = {number for number, task in enumerate(job.tasks) if _has(task.task.tags, tags)}
    if names:
        tests = [compile_glob(name) for name in names]
        wanted = {
            number
            for number in wanted
            if any(
                test(name) for test in tests for name in (job.tasks[number].name, *job.tasks[number].groups)
            )
        }
    if not wanted:
        raise NothingSelected(_no_match(job, names, tags))
    if with_dependencies:
        waiting = list(wanted)
        while waiting:
            for need, _ in job.needs[waiting.pop()]:
                if need not in wanted:
                    wanted.add(need)
                    waiting.append(need)
    return sorted(wanted)


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

"""Which tasks of a job are wanted: by name and by tag, with what they depend on; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.graph import matcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.job import Job


def select(
    job: Job, names: Sequence[str], tags: Sequence[str], *, with_dependencies: bool = True
) -> list[int] | None:
    """The places of the wanted tasks in the job, in its order; None where all are.

    Wanted is what matches any of `names` (patterns of `*` and `?`; a group's name means all
    of its tasks) and has any of `tags`, where they are given, and what that depends on.
    """
    if not names and not tags:
        return None
    wanted = {number for number, task in enumerate(job.tasks) if _has(task.task.tags, tags)}
    if names:
        tests = [matcher(name) for name in names]
        wanted = {
            number
            for number in wanted
            if any(
                test(name) for test in tests for name in (job.tasks[number].name, *job.tasks[number].groups)
            )
        }
    if with_dependencies:
        waiting = list(wanted)
        while waiting:
            for need, _ in job.needs[waiting.pop()]:
                if need not in wanted:
                    wanted.add(need)
                    waiting.append(need)
    return sorted(wanted)


def _has(tags: Sequence[str], any_of: Sequence[str]) -> bool:
    return not any_of or not set(any_of).isdisjoint(tags)

"""The cells of tasks that just succeeded, by what a reader of a large record has found of them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from mprun.reporters.format import format_duration, format_size

if TYPE_CHECKING:
    from mprun.record.task_state import TaskState


def plain_cells(task: TaskState) -> tuple[str, ...]:
    """Of a task with an `end`: pid, parent, duration, CPU time and memory; "-" for what is unknown."""
    _, _, pid, ppid = task.start
    _, _, _, duration, cpu, max_rss, _, _ = task.end
    return pid, ppid, _duration(duration), _duration(cpu), _size(max_rss)


def _duration(recorded: str) -> str:
    if recorded[1:2] == ".":
        # Less than 10 seconds.
        return "%.2fs" % float(recorded)  # noqa: UP031  half the time
    return format_duration(None if recorded == "null" else float(recorded))


# Sizes are multiples of a page, so there are few.
@lru_cache(maxsize=4096)
def _size(recorded: str) -> str:
    return format_size(None if recorded == "null" else int(recorded))

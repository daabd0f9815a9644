"""The progress of a run in one line, for runs that print nothing for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.reporters.format import format_duration, join_names, plural

if TYPE_CHECKING:
    from mprun.record.run_state import RunState

# How many running tasks are named, in the order of their start.
_MAX_NAMES = 3


def progress(state: RunState, total: int | None, seconds: float) -> str:
    """The progress of a run, so many seconds after its start.

    `total` is the number of tasks, None if a task's result decides how many there will be.
    """
    ended = [task for task in state.tasks.values() if task.outcome is not None]
    failed = sum(task.has_failed for task in ended)
    done = len(ended) - failed
    tasks = plural(done, "task") if total is None else f"{done} of {plural(total, 'task')}"
    apart = f", {failed} failed" if failed else ""
    running = [task.name for task in state.tasks.values() if task.is_running]
    what = f"{len(running)} running: {join_names(running, _MAX_NAMES)}" if running else "none running"
    return f"after {format_duration(seconds)}: {tasks} done{apart}, {what}"

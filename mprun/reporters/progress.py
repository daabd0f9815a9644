"""How far a run is, in a line: what is said of one that says nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.reporters.format import format_duration, join_names, plural

if TYPE_CHECKING:
    from mprun.record.run_state import RunState

# A line names this many of the tasks that run, those that began first.
_NAMES_LIMIT = 3


def progress(state: RunState, total: int | None, seconds: float) -> str:
    """What a run has come to so many seconds after its start.

    `total` is how many tasks there are, None where that is not known before they come about.
    """
    done = sum(task.outcome is not None for task in state.tasks.values())
    tasks = plural(done, "task") if total is None else f"{done} of {plural(total, 'task')}"
    running = [task.name for task in state.tasks.values() if task.running]
    what = f"{len(running)} running: {join_names(running, _NAMES_LIMIT)}" if running else "none running"
    return f"after {format_duration(seconds)}: {tasks} done, {what}"

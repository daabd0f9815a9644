"""The table at the end of a run with very many tasks: those that did not succeed, and what it leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import Outcome
from mprun.record.commands import command
from mprun.reporters.table import MAX_ROWS, task_row

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


def bad_rows(state: RunState) -> list[tuple[str, ...]]:
    """As `table.rows`, for the tasks that neither succeeded nor were skipped."""
    good = (Outcome.SUCCEEDED, Outcome.SKIPPED)
    items = state.items
    return [
        task_row(task, True, None, None, items.get(task.name))
        for task in state.in_order()
        if task.outcome not in good
    ]


def omitted_line(directory: RunDirectory, bad: int, tasks: int) -> str:
    """Which tasks the table of so many tasks omits, if only the `bad` ones are shown, and what shows them."""
    parts = []
    if bad > MAX_ROWS:
        parts.append(f"{MAX_ROWS} of the {bad} tasks that did not succeed shown")
    if bad < tasks:
        parts.append(f"{tasks - bad} of {tasks} tasks (succeeded or skipped) not shown")
    return "; ".join([*parts, f"`{visible(command(directory, 'show'))}` lists all"])

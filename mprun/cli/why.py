"""The command that says why a task ran, or did not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mprun.cli.completion import complete_task
from mprun.cli.messages import print_json_line, print_text
from mprun.cli.options import STATE_DIR, json_option
from mprun.cli.show import RUN_OPTION, read_run
from mprun.cli.views.logs import Selection, names_of
from mprun.diagnostics import quote, suggest, visible
from mprun.errors import UsageError
from mprun.record.unchanged import read_why
from mprun.reporters import table
from mprun.scheduling.retry import UNCHANGED

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


@click.command()
@click.argument("task", shell_complete=complete_task)
@RUN_OPTION
@json_option("One JSON object per line, for each task.")
@STATE_DIR
def why(task: str, run: str | None, as_json: bool, state_dir: str) -> int:
    """Say why a task ran in a run, or why it did not.

    Of a task with `inputs` or `outputs`, that is the first thing that had changed since it last succeeded.
    The name of a matrix, `foreach` or recipe means all of its tasks.
    """
    directory, state = read_run(state_dir, run)
    names = [task] if task in state.tasks else Selection([task]).of(state.known_names())
    if not names:
        hint = suggest(task, {known for name in state.known_names() for known in names_of(name)}, "tasks")
        raise UsageError(f"run {directory.run_id} has no task {quote(task)}; {hint}")
    for name in names:
        found = _explain(directory, state, name)
        if as_json:
            print_json_line(found)
        else:
            did = "ran" if found["ran"] else "did not run"
            print_text(f"{quote(name)} {did}: {visible(found['why'])}")
    return 0


def _explain(directory: RunDirectory, state: RunState, name: str) -> dict[str, Any]:
    """Whether a task ran, and why, as the schema `why` describes it."""
    known = state.tasks.get(name)
    finished = known.finished if known is not None else None
    ran = known is not None and bool(known.attempts)
    since = None
    if ran:
        why = str(read_why(directory, name).get("why") or "it has neither `inputs` nor `outputs` to compare")
    elif known is None or finished is None:
        why = "it has not started"
    elif finished.reused and finished.reason.startswith(UNCHANGED):
        since = finished.reason.removeprefix(UNCHANGED)
        why = f"nothing that it depends on has changed since run {since}"
    else:
        resumed = state.started.resumed_from if state.started else None
        why = table.outcome_words(known, resumed)
    return {
        "run": directory.run_id,
        "task": name,
        "ran": ran,
        "outcome": finished.outcome if finished else None,
        "unchanged_since": since,
        "why": why,
    }

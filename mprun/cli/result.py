"""The command that prints what a task returned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mprun.cli.completion import complete_task
from mprun.cli.messages import print_json
from mprun.cli.options import STATE_DIR, json_option
from mprun.cli.show import RUN_OPTION, read_run
from mprun.cli.views.logs import Selection, names_of
from mprun.diagnostics import quote, redact, suggest, visible
from mprun.errors import UsageError
from mprun.outcomes import Outcome
from mprun.record import results
from mprun.reporters import table
from mprun.reporters.door import expect_json

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState

# Characters of a result that is not JSON, as an error shows it.
_MAX_REPR = 200


@click.command()
@click.argument("task", shell_complete=complete_task)
@RUN_OPTION
@json_option("Errors as JSON, too; the result always is.")
@STATE_DIR
def result(task: str, run: str | None, as_json: bool, state_dir: str) -> int:
    """Print the result of a task, as JSON.

    The name of a matrix, `foreach` or recipe means the list of the results of its tasks, with
    null for those that did not succeed. It is an error if a single task has not succeeded, or
    if its result is not JSON.
    """
    directory, state = read_run(state_dir, run)
    expect_json(sys.stdout)
    value = _value(directory, state, task)
    print_json(value)
    return 0


def _value(directory: RunDirectory, state: RunState, name: str) -> Any:
    """The result of a task, or the list of those of a group: what a reference to this name has."""
    if name in state.tasks:
        return _result(directory, state.tasks[name])
    tasks = [state.tasks.get(task) for task in Selection([name]).of(state.known_names())]
    if not tasks:
        hint = suggest(name, {known for task in state.known_names() for known in names_of(task)}, "tasks")
        raise UsageError(f"run {directory.run_id} has no task {quote(name)}; {hint}")
    if not any(tasks):
        raise UsageError(f"task {quote(name)} has no result: it has not started")
    return [
        _result(directory, task) if task is not None and task.outcome == Outcome.SUCCEEDED else None
        for task in tasks
    ]


def _result(directory: RunDirectory, task: TaskState) -> Any:
    """The result of one task. Raises UsageError if it has none that is JSON."""
    finished = task.finished
    if finished is None or finished.outcome != Outcome.SUCCEEDED:
        raise UsageError(f"task {quote(task.name)} has no result: {visible(table.outcome_words(task))}")
    if finished.result_kind != "file":
        value, kind = finished.result, finished.result_kind
    else:
        value, kind = results.read_value(directory.result_files(task.name, finished.attempts))
    if kind == "repr":
        files = directory.result_files(task.name, finished.attempts)
        problem, text = results.read_problem(files), results.read_repr(files, _MAX_REPR)
        shown = f"; only {quote(text)} was kept" if text else ""
        what, remedy = visible(redact(problem.what)), visible(problem.remedy)
        raise UsageError(f"task {quote(task.name)} returned {what}{shown}; {remedy}")
    return value

"""The command that stops tasks, or a whole run, from another terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from mprun.cli.completion import complete_run, complete_task
from mprun.cli.messages import write
from mprun.cli.options import STATE_DIR
from mprun.cli.show import print_json, read_run
from mprun.diagnostics import quote
from mprun.engine import control
from mprun.errors import MprunError, UsageError
from mprun.outcomes import Outcome
from mprun.record import lock, reader
from mprun.record.state_dir import runs
from mprun.reporters.table import outcome_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.record.state_dir import RunDirectory

# How often it is looked whether what was asked to end has ended, in seconds.
_LOOK = 0.1


@click.command()
@click.argument("tasks", nargs=-1, shell_complete=complete_task)
@click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_run,
    help="The run's id, or its beginning; the newest that goes on where none is named.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="As one JSON object: what was stopped, and how it ended."
)
@STATE_DIR
def stop(tasks: tuple[str, ...], run: str | None, as_json: bool, state_dir: str) -> int:
    """Stop tasks of a run that goes on, or all of it.

    As a timeout does: the stop signal, the grace, then SIGKILL. A name may be a pattern of
    `*` and `?`; that of a matrix, a `foreach` or a recipe means all of its tasks. A run
    that is stopped once more is killed at once.
    """
    directory = _going_on(state_dir, run)
    say = (lambda text: None) if as_json else write
    answer = _stop_tasks(directory, list(tasks), say) if tasks else _stop_run(directory, say)
    if as_json:
        print_json(_told(directory, answer))
    if answer["unknown"]:
        names = ", ".join(map(quote, answer["unknown"]))
        raise UsageError(f"run {directory.run_id} has no task {names}")
    return 0


def _stop_tasks(
    directory: RunDirectory, tasks: list[str], say: Callable[[str], None]
) -> dict[str, list[str]]:
    """Stop some tasks and wait for their ends; what the engine has answered."""
    answer = control.stop_tasks(directory, tasks)
    for name in answer["finished"]:
        say(f"{quote(name)} had ended before")
    _wait_for(directory, answer["stopped"], say)
    return answer


def _told(directory: RunDirectory, answer: dict[str, list[str]]) -> dict[str, Any]:
    """What became of all that, in the record's words; `outcome` and `exit_code` are the run's."""
    state, _ = reader.read_state(directory)
    ends = {name: task.finished for name, task in state.tasks.items()}
    return {
        "run": directory.run_id,
        "outcome": reader.run_outcome(directory, state),
        "exit_code": state.finished.exit_code if state.finished else None,
        "stopped": [
            {"task": name, "outcome": end.outcome if end else None, "reason": end.reason if end else None}
            for name, end in ((name, ends.get(name)) for name in answer["stopped"])
        ],
        "over": answer["finished"],
        "unknown": answer["unknown"],
    }


def _going_on(state_dir: str, run: str | None) -> RunDirectory:
    """The run that is meant. Raises UsageError where it does not go on."""
    if run is not None:
        directory, _ = read_run(state_dir, run)
        if lock.find_writer(directory.events) is None:
            raise UsageError(f"run {directory.run_id} has finished")
        return directory
    for directory in runs(state_dir):
        if lock.find_writer(directory.events) is not None:
            return directory
    raise UsageError(f"no run in {state_dir} goes on: `--state-dir` looks elsewhere")


def _stop_run(directory: RunDirectory, say: Callable[[str], None]) -> dict[str, list[str]]:
    """Stop the whole run and wait for its end; the tasks that ran, as an answer would have them."""
    control.stop_run(directory)
    while lock.find_writer(directory.events) is not None:
        if control.engine_is_suspended(directory):
            raise MprunError(f"run {directory.run_id} was suspended; it ends as soon as it is resumed")
        time.sleep(_LOOK)
    state, _ = reader.read_state(directory)
    say(f"run {directory.run_id}: {reader.run_outcome(directory, state)}")
    ends = [task.finished for task in state.tasks.values()]
    stopped = [end.task for end in ends if end is not None and end.outcome == Outcome.STOPPED]
    return {"stopped": stopped, "finished": [], "unknown": []}


def _wait_for(directory: RunDirectory, names: list[str], say: Callable[[str], None]) -> None:
    """Say how each has ended, once it has."""
    waiting = list(names)
    while waiting:
        over = lock.find_writer(directory.events) is None
        state, _ = reader.read_state(directory)
        for name in list(waiting):
            task = state.tasks.get(name)
            if task is not None and task.finished is not None:
                waiting.remove(name)
                say(f"{quote(name)} {outcome_words(task)}")
        if over:
            return
        if waiting:
            time.sleep(_LOOK)

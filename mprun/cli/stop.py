"""The command that stops tasks, or a whole run, from another terminal."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import click

from mprun import control, record
from mprun.cli.completion import complete_run, complete_task
from mprun.cli.options import STATE_DIR
from mprun.cli.records import read_run
from mprun.errors import MprunError, UsageError
from mprun.problems import quote
from mprun.reporters.errors import write
from mprun.reporters.table import outcome_words
from mprun.statedir import runs

if TYPE_CHECKING:
    from mprun.statedir import RunDirectory

# How long mprun may take to answer, in seconds.
PATIENCE = 5.0
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
@STATE_DIR
def stop(tasks: tuple[str, ...], run: str | None, state_dir: str) -> int:
    """Stop tasks of a run that goes on, or all of it.

    As a timeout does: the stop signal, the grace, then SIGKILL. A name may be a pattern of
    `*` and `?`; that of a matrix, a `foreach` or a recipe means all of its tasks. A run
    that is stopped once more is killed at once.
    """
    directory = _going_on(state_dir, run)
    if not tasks:
        return _stop_run(directory)
    request = control.ask(directory, list(tasks))
    _signal(directory, control.SIGNAL)
    answer = control.answer_to(request, PATIENCE)
    if answer is None:
        raise MprunError(f"run {directory.run_id} does not answer; is it suspended?")
    for name in answer["over"]:
        write(f"{quote(name)} had ended before")
    _wait_for(directory, answer["stopped"])
    if answer["unknown"]:
        names = ", ".join(map(quote, answer["unknown"]))
        raise UsageError(f"run {directory.run_id} has no task {names}")
    return 0


def _going_on(state_dir: str, run: str | None) -> RunDirectory:
    """The run that is meant. Raises UsageError where it does not go on."""
    if run is not None:
        directory, _ = read_run(state_dir, run)
        if record.writer(directory.events) is None:
            raise UsageError(f"run {directory.run_id} is over")
        return directory
    for directory in runs(state_dir):
        if record.writer(directory.events) is not None:
            return directory
    raise UsageError(f"no run in {state_dir} goes on: `--state-dir` looks elsewhere")


def _signal(directory: RunDirectory, number: int) -> None:
    """Send a signal to who writes the record, and to nobody who has its number by now."""
    writer = record.writer(directory.events)
    try:
        pidfd = os.pidfd_open(writer or 0)
    except (OSError, ValueError):
        raise UsageError(f"run {directory.run_id} is over") from None
    try:
        # It held the lock after the pidfd was opened, so it is the one.
        if record.writer(directory.events) != writer:
            raise UsageError(f"run {directory.run_id} is over")
        signal.pidfd_send_signal(pidfd, number)
    except PermissionError:
        raise UsageError(f"run {directory.run_id} is another user's") from None
    except ProcessLookupError:
        raise UsageError(f"run {directory.run_id} is over") from None
    finally:
        os.close(pidfd)


def _stop_run(directory: RunDirectory) -> int:
    _signal(directory, signal.SIGTERM)
    while record.writer(directory.events) is not None:
        time.sleep(_LOOK)
    state, _ = record.read_state(directory)
    ended = "interrupted" if state.finished is None else state.finished.outcome
    write(f"run {directory.run_id}: {ended}")
    return 0


def _wait_for(directory: RunDirectory, names: list[str]) -> None:
    """Say how each has ended, once it has."""
    waiting = list(names)
    while waiting:
        over = record.writer(directory.events) is None
        state, _ = record.read_state(directory)
        for name in list(waiting):
            task = state.tasks.get(name)
            if task is not None and task.finished is not None:
                waiting.remove(name)
                write(f"{quote(name)} {outcome_words(task)}")
        if over:
            return
        if waiting:
            time.sleep(_LOOK)

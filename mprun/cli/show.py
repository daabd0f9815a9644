"""The commands that read the record of one run: `show`, `tree` and `logs`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from mprun.cli.completion import complete_run, complete_task
from mprun.cli.messages import print_json, warn
from mprun.cli.options import STATE_DIR, json_option
from mprun.errors import UsageError
from mprun.record import garbage_collector, reader
from mprun.record.packed_path import is_packed
from mprun.record.run_list import find_run
from mprun.reporters.door import wants_colour
from mprun.reporters.outlet import display

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory

# Of the commands whose arguments are tasks.
RUN_OPTION = click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_run,
    help="The run's id, or the beginning of it; by default the newest run.",
)


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option("-v", "--attempts", is_flag=True, help="Show every attempt, not just the last.")
@json_option("One JSON object, with the words of the record.")
@STATE_DIR
def show(run: str | None, attempts: bool, as_json: bool, state_dir: str) -> int:
    """Show one run: its tasks, their results and how they ended.

    RUN is the id of the run, or the beginning of it; by default the newest run. For an
    active run, also show the processes that are running now.
    """
    from mprun.cli.views.run import show_run
    from mprun.cli.views.run_json import show_json

    with garbage_collector.paused(freezes=True):
        directory, state = read_run(state_dir, run, may_fork=True)
        garbage_collector.keep(state)
        if as_json:
            show_json(directory, state, sys.stdout)
        else:
            show_run(directory, state, sys.stdout, wants_colour(sys.stdout), attempts=attempts)
    return 0


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@json_option("One JSON object; children are inside their parents.")
@STATE_DIR
def tree(run: str | None, as_json: bool, state_dir: str) -> int:
    """Show the process tree of a run.

    RUN is the id of the run, or the beginning of it; by default the newest run. Each line
    has the peak memory of a process, its CPU time, the most threads seen at once, and how
    it ended. For an active run, also show the processes that its tasks have started.
    """
    from mprun.cli.views.process_tree import write_tree
    from mprun.record.process_tree import build_tree

    with garbage_collector.paused(freezes=True):
        directory, state = read_run(state_dir, run, may_fork=True)
        roots = build_tree(directory, state)
        garbage_collector.keep(roots)
        outcome = reader.run_outcome(directory, state)
        # Of 100,000 tasks it takes as much memory as the lines that follow.
        del state
        if as_json:
            processes = [root.to_json() for root in roots]
            print_json({"run": directory.run_id, "outcome": outcome, "processes": processes})
        else:
            write_tree(roots, sys.stdout, wants_colour(sys.stdout))
    return 0


@click.command()
@click.argument("tasks", nargs=-1, shell_complete=complete_task)
@RUN_OPTION
@click.option("-f", "--follow", is_flag=True, help="Keep printing new output until the run ends.")
@click.option(
    "--attempt",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show only the N-th attempt of each task.",
)
@click.option("--failed", is_flag=True, help="Show only the tasks that failed.")
@click.option(
    "--tail",
    type=click.IntRange(min=0),
    metavar="N",
    help="Show only the last N lines of each log.",
)
@click.option("--timestamps", is_flag=True, help="With -f: the time at which each new line was seen.")
@json_option("One JSON object per line: task, attempt, line.")
@STATE_DIR
def logs(
    tasks: tuple[str, ...],
    run: str | None,
    follow: bool,
    attempt: int | None,
    failed: bool,
    tail: int | None,
    timestamps: bool,
    as_json: bool,
    state_dir: str,
) -> int:
    """Show what the tasks of a run printed.

    TASKS are names or patterns with `*` and `?`; by default all tasks. The name of a
    matrix, `foreach` or recipe means all of its tasks; `main` is the main process, which
    imported the targets. The output of a single task is shown as it is, without its name.
    The first one may be a file of `mprun pack`, as for `--run`.
    """
    from mprun.cli.views.follow import follow_logs
    from mprun.cli.views.logs import Selection, show_logs

    if run is None and tasks and is_packed(tasks[0]) and os.path.exists(tasks[0]):
        # Else it is the name of a task.
        run, tasks = tasks[0], tasks[1:]
    directory, state = read_run(state_dir, run, may_fork=True)
    if follow and failed:
        raise UsageError("`--failed` shows tasks that have ended, and does not go with `--follow`")
    if timestamps and (as_json or not follow):
        raise UsageError("a log has no times of its lines; use `--timestamps` with `-f`, without `--json`")
    selection = Selection(tasks, attempt, tail)
    if follow and reader.is_active(directory, state):
        follow_logs(directory, selection, state, as_json=as_json, timestamps=timestamps)
    else:
        show_logs(directory, state, selection, failed=failed, as_json=as_json, timestamps=timestamps)
    return 0


def read_run(
    state_dir: str, run: str | None, *, to_read: bool = True, may_fork: bool = False
) -> tuple[RunDirectory, RunState]:
    """A run by its id, and the state that its record describes; warns about lines that cannot be read.

    A command that signals or changes something does not only come `to_read`: see `list_runs`.
    """
    return read_run_in(find_run(state_dir, run, to_read=to_read), may_fork=may_fork)


def read_run_in(directory: RunDirectory, *, may_fork: bool = False) -> tuple[RunDirectory, RunState]:
    """As `read_run`, for a run whose directory is known."""
    with garbage_collector.paused(freezes=True):
        state, damage = reader.read_state(directory, may_fork=may_fork)
    for description in damage:
        warn(f"{directory.events}: {description}, left out")
    return directory, state


def print_run(directory: RunDirectory) -> None:
    """Print a run that has just ended as one JSON object, if it has a record."""
    # A signal may have ended the run before it recorded anything, or a task may have removed its record.
    if directory.has_record():
        display.wait_for_reader()
        from mprun.cli.views.run_json import show_json

        show_json(*read_run_in(directory), sys.stdout)

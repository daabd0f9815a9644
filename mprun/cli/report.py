"""The command that makes the report of a run, and the format of `--report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mprun import __version__
from mprun.cli.completion import complete_run
from mprun.cli.messages import warn
from mprun.cli.options import STATE_DIR
from mprun.cli.output_file import Format, check_path, write_run
from mprun.clock import Clock
from mprun.errors import UsageError
from mprun.record import reader
from mprun.record.run_list import find_run
from mprun.record.task_details import TaskDetails
from mprun.reporters.report.page import BEGINNING, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import RunStarted
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    help="The file to write; - is stdout. By default report-RUN.html in this directory.",
)
@click.option("--open", "is_opened", is_flag=True, help="Open the report in a browser.")
@STATE_DIR
def report(run: str | None, path: str | None, is_opened: bool, state_dir: str) -> int:
    """Write a report of a run, an HTML page.

    RUN is the id of the run, or the beginning of it; by default the newest run. The page
    needs no network. It has the failures with their logs, a timeline, the processes and a
    table of all tasks.
    """
    if is_opened and path == "-":
        raise UsageError("`--open` needs a file, and `-o -` writes to stdout; use one of them")
    directory = find_run(state_dir, run)
    path = path or f"report-{directory.run_id}.html"
    if path != "-":
        check_path(path, FORMAT, "-o")
    write_run(directory, path, FORMAT)
    if is_opened:
        from mprun.cli.browser import open_page

        if problem := open_page(path):
            warn(problem)
    return 0


def pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    """The page of a run, from its record."""
    joins: dict[str, str] = {}
    details = TaskDetails()
    state, damage = reader.read_state(directory, details.add, joins)
    started = state.started
    clock = Clock()
    page = Report(
        directory,
        state,
        joins,
        damage=damage,
        estimates=_estimates(directory, started) if started is not None else None,
        dependencies=_dependencies(details),
        details=details,
        now=clock.iso(clock.now()),
        version=__version__,
    )
    return page.pieces()


FORMAT = Format(name="report", beginning=BEGINNING, pieces=pieces)


# More dependencies take too much of the page.
_MAX_DEPENDENCIES = 50_000


def _dependencies(details: TaskDetails) -> tuple[dict[str, list[str]], str]:
    """By a task's name, the tasks that it depended on; else why they are unknown."""
    if not details.is_known:
        return {}, "the record of an older mprun does not have them"
    found, count = {}, 0
    for number, name in enumerate(details.names):
        needs: list[str] = []
        for numbers, _ in details.needs(number):
            count += len(numbers)
            if count > _MAX_DEPENDENCIES:
                return {}, f"there are more than {_MAX_DEPENDENCIES:,}"
            needs += [details.names[need] for need in numbers]
        found[name] = needs
    return found, ""


def _estimates(directory: RunDirectory, started: RunStarted) -> Estimates | None:
    """What earlier runs of the job file say of the durations; None if there are none."""
    from mprun.record.copies import is_repeated
    from mprun.record.history import past_runs
    from mprun.record.moved_path import path_here
    from mprun.scheduling.estimates import Estimates

    state_dir = directory.state.path
    file = path_here(started.file, started.state_dir, state_dir)
    timings = past_runs(state_dir, file, before=directory.run_id, copies=is_repeated(started))
    return Estimates(timings) if timings else None

"""The report of a run as a format of a file about it, for `mprun report` and `--report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import __version__
from mprun.cli.output_file import Format
from mprun.clock import Clock
from mprun.record import garbage_collector, reader
from mprun.record.task_details import TaskDetails
from mprun.reporters.report.page import BEGINNING, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import RunStarted
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.estimates import Estimates
    from mprun.scheduling.plan import Plan


def pieces(directory: RunDirectory, _: Plan | None = None) -> Iterator[str]:
    """The page of a run, from its record."""
    joins: dict[str, str] = {}
    details = TaskDetails()
    with garbage_collector.paused(freezes=True):
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

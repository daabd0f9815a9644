"""The command that lists the tasks that are flaky, by the records of all runs."""

from __future__ import annotations

import sys
from itertools import islice

import click

from mprun.cli.messages import note, print_json, warn
from mprun.cli.options import STATE_DIR, json_option
from mprun.diagnostics import visible
from mprun.errors import UnreadableRecord
from mprun.record.commands import short_path
from mprun.record.flaky import FlakyTask, RunEnds, flaky_tasks, read_ends
from mprun.record.run_list import list_runs
from mprun.reporters import table
from mprun.reporters.door import wants_colour
from mprun.reporters.format import format_percent, plural

# How many runs are read by default.
_LIMIT = 2000

HEAD = ("TASK", "JOB FILE", "RUNS", "FAILED", "FLAKY", "RATE", "95 % INTERVAL", "LATEST")
_LAYOUT = table.Layout(
    folded=(0, 1),
    right=(2, 3, 4, 5, 6),
    optional=("95 % INTERVAL", "JOB FILE", "LATEST", "RUNS"),
    styled=0,
)


@click.command()
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    default=_LIMIT,
    show_default=True,
    metavar="N",
    help="Read the newest N runs; 0 reads all.",
)
@json_option("One JSON object.")
@STATE_DIR
def flaky(limit: int, as_json: bool, state_dir: str) -> int:
    """List the tasks that are flaky, by the records of earlier runs.

    A task is flaky if it succeeded only at a later attempt, or if it succeeded in one run and
    failed in another one with the same content of the job files and the same params.
    """
    known = list(list_runs(state_dir))
    chosen = list(islice(known, limit or None))
    unreadable: list[str] = []
    read: list[RunEnds] = []
    for directory in chosen:
        try:
            ends = read_ends(directory)
        except UnreadableRecord:
            ends = None
        if ends is None:
            unreadable.append(directory.run_id)
        else:
            read.append(ends)
    found = flaky_tasks(read)
    if as_json:
        print_json({"runs": len(read), "unreadable": unreadable, "tasks": [one.to_json() for one in found]})
        return 0
    if unreadable:
        others = plural(len(unreadable), "run")
        warn(f"the records of {others} cannot be read, such as {visible(unreadable[0])}")
    if found:
        rows = [_row(one) for one in found]
        table.write(HEAD, rows[: table.MAX_ROWS], sys.stdout, wants_colour(sys.stdout), _LAYOUT)
        if len(rows) > table.MAX_ROWS:
            note(f"{table.MAX_ROWS} of {len(rows)} flaky tasks shown; `--json` has all")
    else:
        note(f"no flaky task in {plural(len(read), 'run')} of {visible(state_dir)}")
    if len(chosen) < len(known):
        note(f"{len(chosen)} of {len(known)} runs read; `-n 0` reads all")
    return 0


def _row(task: FlakyTask) -> tuple[str, ...]:
    latest = max((*task.failed_runs[:1], *task.flaky_runs[:1]))
    return (
        visible(task.task),
        visible(short_path(task.file)) if task.file.startswith("/") else visible(task.file),
        str(task.runs),
        str(task.failures),
        str(task.flaky),
        format_percent(task.rate),
        f"{format_percent(task.low)} to {format_percent(task.high)}",
        visible(latest),
    )

"""The command that lists the runs of a state directory, and removes old ones."""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING

import click

from mprun.cli.messages import note, print_text, warn
from mprun.cli.options import STATE_DIR, json_option, to_seconds
from mprun.clock import Clock
from mprun.diagnostics import visible
from mprun.errors import UsageError
from mprun.outcomes import EXIT_INTERNAL
from mprun.record.run_list import list_runs
from mprun.record.summary import RunSummary
from mprun.reporters.door import wants_colour
from mprun.reporters.format import format_size, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory


# How many runs are listed by default.
_LIMIT = 20


@click.command()
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    show_default=str(_LIMIT),
    help="List at most N runs; 0 lists all.",
)
@click.option("--failed", is_flag=True, help="List only failed, interrupted and unreadable runs.")
@json_option("One JSON object per line.")
@click.option(
    "--prune",
    callback=to_seconds,
    metavar="DURATION",
    help="Remove the runs that ended longer ago than this, such as 30d.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="With --prune: keep the newest N runs, even if they are older.",
)
@click.option("--dry-run", is_flag=True, help="With --prune: show what would be removed, but remove nothing.")
@STATE_DIR
def runs(
    limit: int | None,
    failed: bool,
    as_json: bool,
    prune: float | None,
    keep: int,
    dry_run: bool,
    state_dir: str,
) -> int:
    """List the runs, newest first, or remove old ones.

    Active runs, and runs whose record cannot be read, are never removed.
    """
    if prune is not None:
        if failed or limit is not None:
            raise UsageError("`--failed` and `-n` select what is listed, and do not go with `--prune`")
        return _prune(state_dir, prune, keep, dry_run, as_json)
    if keep or dry_run:
        raise UsageError("`--keep` and `--dry-run` need `--prune`")
    from mprun.cli.views.run_list import write_json, write_table

    known = list(list_runs(state_dir))
    found = (run for run in map(RunSummary, known) if run.is_bad or not failed)
    limit = _LIMIT if limit is None else limit
    shown = list(islice(found, limit or None))
    if as_json:
        write_json(shown, sys.stdout, _now())
    elif shown:
        write_table(shown, sys.stdout, wants_colour(sys.stdout), _now())
    else:
        note(f"no {'failed ' if failed else ''}runs in {visible(state_dir)}")
    if len(shown) == limit and next(found, None) is not None:
        total = f"the newest {limit} failed runs" if failed else f"{limit} of {len(known)} runs"
        note(f"{total} shown; `-n 0` lists all")
    return 0


def _now() -> str:
    """The time, as events have it."""
    clock = Clock()
    return clock.iso(clock.now())


def _prune(state_dir: str, older_than: float, keep: int, dry_run: bool, as_json: bool) -> int:
    removed = space = code = 0
    for directory in _prunable(state_dir, older_than, keep):
        try:
            taken = directory.size()
            if not dry_run:
                directory.remove()
        except OSError as error:
            warn(f"cannot remove {directory.run_id}: {error.strerror}")
            code = EXIT_INTERNAL
            continue
        removed, space = removed + 1, space + taken
        if as_json:
            line = {"run": directory.run_id, "bytes": taken, "removed": not dry_run}
            print_text(json.dumps(line))
        elif dry_run:
            print_text(f"{directory.run_id}  {format_size(taken)}")
    if not as_json:
        print_text(
            f"{'would remove' if dry_run else 'removed'} {plural(removed, 'run')}, {format_size(space)}"
        )
    return code


def _prunable(state_dir: str, older_than: float, keep: int) -> Iterator[RunDirectory]:
    """The runs to remove; warns about each that is kept for another reason than its age."""
    from mprun.record.retention import keep_reason

    now = time.time()
    for directory in islice(list_runs(state_dir, to_read=False), keep, None):
        reason = keep_reason(RunSummary(directory), older_than, now)
        if reason:
            warn(f"kept {directory.run_id}: {reason}")
        elif reason is None:
            yield directory

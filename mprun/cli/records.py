"""The commands that read the records of runs."""

from __future__ import annotations

import sys
from typing import Any

import click

from mprun.cli.options import STATE_DIR
from mprun.record import read_state
from mprun.reporters.console import wants_colour
from mprun.reporters.errors import warn
from mprun.statedir import find_run


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@STATE_DIR
def show(run: str | None, as_json: bool, state_dir: str) -> int:
    """Show one run: its tasks and how they ended.

    The newest run where none is named.
    """
    from mprun.reporters.show import show_run

    directory = find_run(state_dir, run)
    state, damage = read_state(directory)
    for what in damage:
        warn(f"{directory.events}: {what}, left out")
    if as_json:
        _print_json(state.to_json())
    else:
        show_run(directory, state, sys.stdout, wants_colour(sys.stdout))
    return 0


@click.command()
@click.argument("tasks", nargs=-1)
@click.option("--run", metavar="RUN", help="The run's id, or its beginning; the newest where none is named.")
@STATE_DIR
def logs(tasks: tuple[str, ...], run: str | None, state_dir: str) -> int:
    """Show what the tasks of a run printed.

    Of all tasks where none is named; `main` is the process that imported them.
    """
    from mprun.reporters.show import show_logs

    directory = find_run(state_dir, run)
    state, damage = read_state(directory)
    for what in damage:
        warn(f"{directory.events}: {what}, left out")
    show_logs(directory, state, tasks)
    return 0


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))

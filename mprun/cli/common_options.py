"""The options that commands share."""

from __future__ import annotations

import click

from mprun.jobfile.units import seconds
from mprun.record.state_dir import DEFAULT

STATE_DIR = click.option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)


def to_seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """An option's duration, written as a job file writes it, in seconds."""
    if value is None:
        return None
    try:
        return seconds(float(value) if value.replace(".", "", 1).isdecimal() else value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None

"""The options that commands share."""

from __future__ import annotations

import click

from mprun.statedir import DEFAULT

STATE_DIR = click.option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)

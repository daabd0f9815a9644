"""The command that writes an earlier run in the formats of other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mprun.cli.completion import complete_run
from mprun.cli.options import STATE_DIR
from mprun.cli.output_file import check_different, check_path, write_run
from mprun.cli.run_files import FORMATS
from mprun.errors import UsageError
from mprun.record import garbage_collector
from mprun.record.run_list import find_run

if TYPE_CHECKING:
    from collections.abc import Callable

# The formats of `FORMATS` that have no command of their own, with their help.
EXPORTS = {
    "junit": "Write the results of all tasks as JUnit XML to FILE; - is stdout.",
    "trace": "Write a trace, for ui.perfetto.dev, to FILE; - is stdout.",
    "otlp": "Write OTLP/JSON, for OpenTelemetry, to FILE; - is stdout.",
}


def _format_options(command: Callable[..., int]) -> Callable[..., int]:
    for name, text in reversed(EXPORTS.items()):
        command = click.option(f"--{name}", metavar="FILE", help=text)(command)
    return command


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@_format_options
@STATE_DIR
def export(run: str | None, state_dir: str, **paths: str | None) -> int:
    """Write a run in the formats of other programs.

    RUN is the id of the run, or the beginning of it; by default the newest run.
    """
    wanted = [(name, path) for name, path in paths.items() if path]
    if not wanted:
        options = ", ".join(f"`--{name} FILE`" for name in EXPORTS)
        raise UsageError(f"`mprun export` needs a format: {options}")
    if [path for _, path in wanted].count("-") > 1:
        raise UsageError("only one format can be written to standard output; name a file for the others")
    check_different(dict(wanted))
    directory = find_run(state_dir, run)
    for name, path in wanted:
        if path != "-":
            check_path(path, FORMATS[name](), f"--{name}")
    with garbage_collector.paused(freezes=True):
        for name, path in wanted:
            write_run(directory, path, FORMATS[name]())
    return 0

"""The command that makes the report of a run."""

from __future__ import annotations

import click

from mprun.cli.completion import complete_run
from mprun.cli.messages import warn
from mprun.cli.options import STATE_DIR
from mprun.cli.output_file import check_path, write_run
from mprun.cli.report_page import FORMAT
from mprun.errors import UsageError
from mprun.record.run_list import find_run


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

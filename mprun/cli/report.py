"""The command that makes the report of a run, and the report that `--report` makes at a run's end."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import click

from mprun.cli.completion import complete_run
from mprun.cli.messages import print_pieces, print_text, warn
from mprun.cli.options import STATE_DIR
from mprun.cli.recorded_dependencies import read_dependencies
from mprun.clock import Clock
from mprun.diagnostics import quote, visible
from mprun.errors import MprunError, UsageError
from mprun.outcomes import EXIT_INTERNAL
from mprun.record import reader
from mprun.record.state_dir import find_run
from mprun.reporters.report.page import BEGINNING, Report
from mprun.reporters.report.report_data import Joins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.estimates import Estimates


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
    if path == "-":
        print_pieces(pieces(directory))
        return 0
    check_path(path, "-o")
    try:
        _write(directory, path)
    except OSError as error:
        raise UnwrittenReport(f"cannot write the report {quote(path)}: {error.strerror}") from None
    print_text(visible(path))
    if is_opened:
        _open_in_browser(path)
    return 0


class UnwrittenReport(MprunError):
    """The file of a report cannot be written."""

    exit_code = EXIT_INTERNAL


def check_path(path: str, option: str) -> None:
    """Raise UsageError if the file cannot be written, or has something that would be lost."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"`{option}` names {quote(path)}, which is not a regular file; name another one")
        if found.st_size:
            with open(path, "rb") as stream:
                if stream.read(len(BEGINNING)) != BEGINNING.encode():
                    raise UsageError(
                        f"`{option}` would overwrite {quote(path)}, which is not a report of mprun; "
                        "name another file, or remove this one"
                    )
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            why = "cannot be written" if os.path.isdir(folder) else "does not exist"
            raise UsageError(f"cannot write `{option} {path}`: its directory {why}") from None
    except OSError as error:
        raise UsageError(f"cannot write `{option} {path}`: {error.strerror}") from None


def write_at_end(directory: RunDirectory, path: str) -> None:
    """Write the report of a run that has ended. What goes wrong is a warning: the run has its exit code."""
    if not directory.has_record():
        return
    try:
        _write(directory, path)
    except (OSError, MprunError) as error:
        why = getattr(error, "strerror", None) or error
        warn(f"cannot write the report {quote(path)}: {why}")
    except KeyboardInterrupt:
        warn(f"the report {quote(path)} is not written: interrupted")
    except Exception as error:
        from mprun.record.traceback_file import keep_traceback

        warn(f"the report {quote(path)} is not written: {keep_traceback(error)}")


def _write(directory: RunDirectory, path: str) -> None:
    """Write the report beside its name, and give it its name when it is whole. Raises OSError."""
    path = os.path.realpath(path)
    beside = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:200]}.{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.writelines(pieces(directory))
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def pieces(directory: RunDirectory) -> Iterator[str]:
    """The page of a run, from its record."""
    joins = Joins()
    state, damage = reader.read_state(directory, joins.add)
    started = state.started
    clock = Clock()
    page = Report(
        directory,
        state,
        joins,
        damage=damage,
        estimates=_estimates(directory, started.file) if started is not None else None,
        dependencies=read_dependencies(state),
        now=clock.iso(clock.now()),
        version=_version(),
    )
    return page.pieces()


def _estimates(directory: RunDirectory, file: str) -> Estimates | None:
    """What earlier runs of the job file say of the durations; None if there are none."""
    from mprun.record.history import past_runs
    from mprun.scheduling.estimates import Estimates

    timings = past_runs(directory.state.path, file, before=directory.run_id)
    return Estimates(timings) if timings else None


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mprun")
    except PackageNotFoundError:
        return "unknown"


def _open_in_browser(path: str) -> None:
    import webbrowser
    from pathlib import Path

    if not webbrowser.open(Path(path).absolute().as_uri()):
        warn(f"no browser was found to open {quote(path)}")

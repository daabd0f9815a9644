"""The command that lists job files: those of a directory, and the recipes of installed packages."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mprun.cli.lean_imports import import_yaml_parser
from mprun.cli.messages import note, print_json_line, print_lines
from mprun.cli.options import json_option
from mprun.cli.views.job_params import as_object, in_short
from mprun.diagnostics import quote, redact_beginning, visible
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.packages import ENDINGS, PackageFileError, find_package, job_files
from mprun.jobfile.recipe_packages import is_package_name, recipe_packages
from mprun.jobfile.summary import JobSummary, NotAJobFile, read_summary
from mprun.reporters.format import column_widths, pad, plural, truncate
from mprun.reporters.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Packages that are looked for, and those named that are not there.
_MAX_PACKAGES = 1000
_MAX_MISSING = 10
# Files that are read, and columns of a description.
_MAX_FILES = 1000
_MAX_DESCRIPTION = 72
# Bytes of a file: a larger one is hardly written by hand, and takes seconds to read.
_MAX_BYTES = 512 * 1024
# Characters of the message about a file.
_MAX_MESSAGE = 200
_NOT_A_JOB = "not a job file"
# Where a project has its job files, beside those in its root.
_FOLDERS = (".", "jobs")


@click.command()
@click.argument("where", required=False, metavar="[DIR|PACKAGE]")
@json_option("One JSON object per line, for each file.")
def list(where: str | None, as_json: bool) -> int:
    """List job files, with their names, descriptions and params.

    DIR is a directory, PACKAGE an installed package. Without it: the working directory, its
    directory `jobs`, and the packages that declare recipes. Nothing is imported. Invalid files are
    named at the end; of a DIR or PACKAGE that is given, also files that are not job files.
    """
    names = [*_names(where)]
    if len(names) > _MAX_FILES:
        note(f"only the first {_MAX_FILES:,} of {len(names):,} files are listed")
    read = [(name, _read(name)) for name in names[:_MAX_FILES]]
    # No one has asked about these files.
    found = [(name, one) for name, one in read if one != _NOT_A_JOB or where is not None]
    if as_json:
        for name, one in found:
            print_json_line(_as_object(name, one))
        return 0
    print_lines(_lines([(name, one) for name, one in found if isinstance(one, JobSummary)]))
    sys.stdout.flush()
    others = [(name, one) for name, one in found if isinstance(one, str)]
    for name, message in others:
        note(f"{visible(name)}: {visible(message)}")
    if not found:
        elsewhere = f"no job files in {quote(where)}" if where is not None else ""
        note(elsewhere or "no job files here, and no installed package declares recipes")
    return 0


def _names(where: str | None) -> Iterator[str]:
    """The names of the files to list, as other commands take them. Raises UsageError."""
    if where is None:
        for folder in _FOLDERS:
            yield from _in_folder(folder)
        yield from _in_declared_packages()
    elif os.path.isdir(where):
        yield from _in_folder(where)
    elif is_package_name(where):
        try:
            yield from _in_package(where)
        except PackageFileError as error:
            message = f"{quote(where)} is neither a directory nor a package"
            raise UsageError(f"{message}; {error}") from None
    else:
        raise UsageError(f"{quote(where)} is neither a directory nor a package")


def _in_folder(folder: str) -> Iterator[str]:
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        # One of those that are looked for without being named.
        return
    for file in files:
        path = os.path.normpath(os.path.join(folder, file))
        if file.endswith(ENDINGS) and not file.startswith(".") and os.path.isfile(path):
            # Else it would name a package.
            yield f"./{path}" if ":" in path.partition("/")[0] else path


def _in_declared_packages() -> Iterator[str]:
    """The recipes of installed packages; packages that are not there are named."""
    names = recipe_packages()
    missing = 0
    for name in names[:_MAX_PACKAGES]:
        try:
            yield from _in_package(name, remedies=False)
        except PackageFileError as error:
            missing += 1
            if missing <= _MAX_MISSING:
                note(f"an installed package declares recipes of {quote(name)}: {error.message}")
    if missing > _MAX_MISSING:
        note(f"and of {plural(missing - _MAX_MISSING, 'other package')} that cannot be used")
    if len(names) > _MAX_PACKAGES:
        note(f"only the first {_MAX_PACKAGES:,} of {len(names):,} packages are looked at")


def _in_package(name: str, *, remedies: bool = True) -> Iterator[str]:
    package = find_package(name, [os.curdir, *sys.path], remedies=remedies)
    for file in job_files(package):
        yield f"{name}:{file}"


def _read(name: str) -> JobSummary | str:
    """The summary of a file, or what is wrong with it."""
    import_yaml_parser()
    try:
        return read_summary(name, os.environ, max_bytes=_MAX_BYTES)
    except NotAJobFile:
        return _NOT_A_JOB
    except JobFileError as error:
        first = error.diagnostics[0]
        return redact_beginning(f"line {first.span.line}: {first.message}", _MAX_MESSAGE)
    except UsageError as error:
        return redact_beginning(str(error), _MAX_MESSAGE)


def _lines(found: Sequence[tuple[str, JobSummary]]) -> Iterator[str]:
    rows = [[visible(name), visible(one.name), _description(one), _params(one)] for name, one in found]
    widths = column_widths(rows)
    columns = terminal_width(sys.stdout)
    if columns is None or sum(widths) + 2 * len(widths) - 2 <= columns:
        for row in rows:
            yield "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
        return
    # In a narrow terminal the description and the params have lines of their own, rather than none.
    for name, job, *texts in rows:
        yield truncate(f"{pad(name, widths[0])}  {job}", columns)
        yield from (truncate(f"      {text}", columns) for text in texts if text)


def _description(summary: JobSummary) -> str:
    first = summary.description.strip().partition("\n")[0]
    return truncate(visible(first), _MAX_DESCRIPTION)


def _params(summary: JobSummary) -> str:
    """Required params first; those with a default as `n=3`."""
    params = sorted((one.param for one in summary.params), key=lambda param: not param.required)
    return ", ".join(map(in_short, params))


def _as_object(name: str, found: JobSummary | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"job": name, "file": None, "name": None, "description": "", "params": [], "error": found}
    return {
        "job": name,
        "file": found.path,
        "name": found.name,
        "description": found.description,
        "params": [as_object(one) for one in found.params],
        "error": None,
    }

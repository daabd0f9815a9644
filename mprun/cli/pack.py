"""The command that packs a run as one file."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import click

from mprun.cli.completion import complete_run
from mprun.cli.messages import print_json, print_text, warn
from mprun.cli.options import STATE_DIR, json_option
from mprun.cli.output_file import UnwrittenFile, check_folder, replacing
from mprun.cli.show import read_run
from mprun.diagnostics import quote, visible
from mprun.errors import UsageError
from mprun.record.pack import Packed
from mprun.record.pack import pack as pack_run
from mprun.record.packed_path import PACKED
from mprun.record.packed_run import is_ours
from mprun.reporters.format import plural

if TYPE_CHECKING:
    from typing import Any

# How many names in the record that cannot be packed are in a warning.
_MAX_NAMED = 5


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "-o",
    "--output",
    "path",
    metavar="FILE",
    help="The file to write, FILE.zip. By default run-RUN.zip in this directory.",
)
@json_option("One JSON object.")
@STATE_DIR
def pack(run: str | None, path: str | None, as_json: bool, state_dir: str) -> int:
    """Pack a run as one file, to show or resume it elsewhere.

    RUN is the id of the run, or the beginning of it; by default the newest run. FILE.zip has its record,
    logs, results and artifacts, and those of the runs that it resumed. It takes the place of RUN in
    other commands: `mprun show FILE.zip`, `mprun logs FILE.zip TASK`, `mprun resume FILE.zip`.
    """
    directory, state = read_run(state_dir, run)
    if path is None:
        path = f"run-{directory.run_id}{PACKED}"
    _check_path(path)
    try:
        with replacing(path) as descriptor, open(descriptor, "w+b", closefd=False) as target:
            packed = pack_run(directory, state, target)
    except OSError as error:
        raise UnwrittenFile(f"cannot write the packed run {quote(path)}: {error.strerror}") from None
    _warn_of(packed, path)
    if as_json:
        print_json(_to_json(packed, path))
    else:
        print_text(visible(path))
    return 0


def _check_path(path: str) -> None:
    """Raise UsageError if the file cannot be written, or has something that would be lost."""
    if not path.lower().endswith(PACKED):
        raise UsageError(f"`-o {path}` does not end with `{PACKED}`, by which commands know a packed run")
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"`-o` names {quote(path)}, which is not a regular file; name another one")
        if found.st_size and not is_ours(path):
            raise UsageError(
                f"`-o` would overwrite {quote(path)}, which is not a packed run of mprun; "
                "name another file, or remove this one"
            )
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot write `-o {path}`: {error.strerror}") from None
    check_folder(path, "-o")


def _warn_of(packed: Packed, path: str) -> None:
    if packed.left_out:
        named = ", ".join(map(quote, packed.left_out[:_MAX_NAMED]))
        more = len(packed.left_out) - _MAX_NAMED
        also = f" and {more} more" if more > 0 else ""
        warn(f"not packed, because only files that can be read everywhere are: {named}{also}")
    if packed.is_dense:
        warn(
            f"{quote(path)} unpacks to {plural(packed.size, 'byte')}, so much more than its size that other "
            "commands refuse it; unpack it by hand, and name that directory with `--state-dir`"
        )


def _to_json(packed: Packed, path: str) -> dict[str, Any]:
    return {
        "run": packed.runs[0],
        "file": os.path.abspath(path),
        "bytes": os.path.getsize(path),
        "runs": list(packed.runs),
        "files": packed.files,
        "unpacked_bytes": packed.size,
        "left_out": list(packed.left_out),
    }

"""The format of a file about a run; whether such a file can be written, and how it is."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from mprun.cli.messages import print_pieces, print_text
from mprun.diagnostics import quote, visible
from mprun.errors import MprunError, UsageError
from mprun.frozen import Frozen
from mprun.outcomes import EXIT_INTERNAL
from mprun.reporters.door import expect_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.plan import Plan

    Pieces = Callable[[RunDirectory, Plan | None], Iterable[str]]


class Format(Frozen):
    """A format: `name` is what messages call such a file, and `beginning` how each of them begins.

    `pieces` makes the text of a run, with its plan if that is known.
    """

    name: str
    beginning: str
    pieces: Pieces
    is_json: bool = False


class UnwrittenFile(MprunError):
    """A file about a run cannot be written."""

    exit_code = EXIT_INTERNAL


def check_different(paths: Mapping[str, str | None]) -> None:
    """Raise UsageError if two options, by their names, have the same file; `-` and None are none."""
    seen: dict[str, str] = {}
    for option, path in paths.items():
        if path and path != "-":
            first = seen.setdefault(os.path.realpath(path), option)
            if first != option:
                raise UsageError(f"`--{first}` and `--{option}` name the same file, {quote(path)}")


def check_path(path: str, kind: Format, option: str) -> None:
    """Raise UsageError if a file of this format cannot be written, or has something that would be lost."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"`{option}` names {quote(path)}, which is not a regular file; name another one")
        if found.st_size:
            with open(path, "rb") as stream:
                if stream.read(len(kind.beginning)) != kind.beginning.encode():
                    raise UsageError(
                        f"`{option}` would overwrite {quote(path)}, which is not a {kind.name} of mprun; "
                        "name another file, or remove this one"
                    )
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"cannot write `{option} {path}`: {error.strerror}") from None
    check_folder(path, option)


def check_folder(path: str, option: str) -> None:
    """Raise UsageError if no file can be made beside this one: also a file that exists is written there."""
    folder = os.path.dirname(os.path.realpath(path))
    if not os.access(folder, os.W_OK | os.X_OK):
        why = "cannot be written" if os.path.isdir(folder) else "does not exist"
        raise UsageError(f"cannot write `{option} {path}`: its directory {why}")


def print_whole(kind: Format, pieces: Iterable[str]) -> None:
    """Write such a file to standard output. Raises OSError."""
    if kind.is_json:
        expect_json(sys.stdout)
    print_pieces(pieces)
    sys.stdout.flush()


def write_run(directory: RunDirectory, path: str, kind: Format) -> None:
    """Write an earlier run to a file, and print its path; `-` is standard output. Raises UnwrittenFile."""
    pieces = kind.pieces(directory, None)
    if path == "-":
        print_whole(kind, pieces)
        return
    try:
        write_whole(path, pieces)
    except OSError as error:
        raise UnwrittenFile(f"cannot write the {kind.name} {quote(path)}: {error.strerror}") from None
    print_text(visible(path))


def write_whole(path: str, pieces: Iterable[str]) -> None:
    """Write a file beside its name, and give it its name when it is whole. Raises OSError."""
    with (
        replacing(path) as descriptor,
        open(
            descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False
        ) as stream,
    ):
        stream.writelines(pieces)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[int]:
    """The descriptor of a new file beside this one, which takes its place once it is written.

    Raises OSError.
    """
    path = os.path.realpath(path)
    # Whatever its name: that may be as long as names can be.
    beside = os.path.join(os.path.dirname(path), f".mprun-{os.urandom(8).hex()}")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise

"""Reads packed runs, which `mprun pack` writes: unpacks them for as long as a command runs.

A packed run may come from anyone. So its list of files is checked before anything is unpacked, and it is
unpacked with `state_files` into a private directory, so that every reader reads it as any other record.
docs/record.md has the rules.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import stat
import tempfile
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from mprun.diagnostics import quote
from mprun.errors import RecordError, UsageError
from mprun.jobfile.text_file import NotRegular
from mprun.record.not_shown import NOT_SHOWN
from mprun.record.state_dir import ARTIFACTS, EVENTS, RUN_ID, RunDirectory, is_run_id
from mprun.record.state_files import Folder, NotOurs
from mprun.record.traceback_file import TRACEBACK
from mprun.record.zip_reader import (
    CORRUPT,
    DEFLATED,
    MAX_FILES,
    STORED,
    Entry,
    ListTooLarge,
    NotZip,
    ZipReader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

# The directory in the zip file around the runs, as in a state directory.
RUNS = "runs"
# What is packed of the directory of a run, and in this order.
PARTS = (EVENTS, "logs", "results", ARTIFACTS, NOT_SHOWN, TRACEBACK)

# All files together, unpacked.
MAX_BYTES = 2 << 30
# Directories of artifacts are packed so deep.
MAX_DEPTH = 50
# What unpacks to more than this must not be larger than so many times the zip file.
MAX_DENSE_BYTES = 32 << 20
MAX_RATIO = 100

MAX_NAME_BYTES = 255
# The names of `runs`, of the directory of a run, and of what may be in it. Group 1 is that of a file to
# unpack: what another version may pack is left out.
_PART = rf"(?!\.\.?(?:/|\Z))[^/\\\0]{{1,{MAX_NAME_BYTES}}}+"
_BELOW = rf"(?:/{_PART}){{0,{MAX_DEPTH + 2}}}"
_PACKED = rf"((?:{'|'.join(map(re.escape, PARTS))}){_BELOW})"
_NAME = re.compile(rf"{RUNS}/(?:{RUN_ID}/(?:{_PACKED}|{_PART}{_BELOW}/?)?)?".encode())
# The highest bits of the mode of a file, and of a directory; some programs write none.
_FILE_KINDS, _DIRECTORY_KINDS = (0, stat.S_IFREG >> 12), (0, stat.S_IFDIR >> 12)
# Flags: two of a file that is encrypted; and with that of one which is only a patch of another file.
_IS_ENCRYPTED, _IS_NOT_OURS = 0x41, 0x61
_COMPRESSIONS = (STORED, DEFLATED)
# Where the name of the first file is.
_NAME_PLACE = 30

_AGAIN = "use a file of `mprun pack`, as it was written"
_BY_HAND = "if you trust it, unpack it yourself, and name that directory with `--state-dir`"

# The runs of the files that are unpacked by now, and how what was unpacked is removed.
_unpacked: dict[str, list[RunDirectory]] = {}
_removals: list[Callable[[], None]] = []


class NotUnpacked(RecordError):
    """What is in a packed run cannot be written; `strerror` says why."""

    def __init__(self, path: str, error: OSError) -> None:
        self.strerror = error.strerror
        super().__init__(
            f"{quote(path)} cannot be unpacked: {error.strerror}; "
            "set `TMPDIR` to a directory with enough space"
        )


def packed_runs(path: str) -> list[RunDirectory]:
    """The runs in a packed run: the one that was packed, and those that it resumed, as far as they are there.

    They are unpacked until `remove_unpacked`; paths in messages are as if the file was a state directory.
    Raises UsageError for a file that is not a packed run, and RecordError if it cannot be unpacked.
    """
    key = os.path.abspath(path)
    if key not in _unpacked:
        place = os.path.join(tempfile.gettempdir(), f"mprun-packed-{os.urandom(8).hex()}")
        _remove_later(lambda: shutil.rmtree(place, ignore_errors=True))
        try:
            os.mkdir(place, 0o700)
        except OSError as error:
            raise NotUnpacked(path, error) from None
        root = Folder(place)
        found = unpack(path, root)
        runs = Folder(os.path.join(path, RUNS), root)
        _unpacked[key] = [RunDirectory(os.path.join(path, RUNS, run_id), runs) for run_id in found]
    return _unpacked[key]


def _remove_later(remove: Callable[[], None]) -> None:
    """Have something removed by `remove_unpacked`, also if a signal ends the command: call this first."""
    if not _removals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            # One that is ignored stays so.
            if callable(before):
                signal.signal(number, partial(_end, before))
    _removals.append(remove)


def _end(before: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None) -> None:
    remove_unpacked()
    before(number, frame)


@contextlib.contextmanager
def at_the_end(remove: Callable[[], None]) -> Iterator[None]:
    """Remove something at the end of a block, also if a signal ends the command meanwhile."""
    _remove_later(remove)
    try:
        yield
    finally:
        _removals.remove(remove)
        remove()


def remove_unpacked() -> None:
    """Remove all that was unpacked: the command is at its end."""
    _unpacked.clear()
    while _removals:
        with contextlib.suppress(OSError):
            _removals.pop()()


def unpack(path: str, state: Folder) -> list[str]:
    """Unpack a packed run into an empty directory, which is then a state directory; the ids of its runs.

    The first one is the one that was packed. Raises as `packed_runs`.
    """
    try:
        runs = state.make(RUNS)
        runs.require()
    except OSError as error:
        raise NotUnpacked(path, error) from None
    with _open(path) as file:
        try:
            archive = ZipReader(file)
            entries = _checked(path, archive.entries)
            _check_size(path, entries, os.fstat(file.fileno()).st_size)
            _write(path, archive.read(entries), runs)
        except NotZip:
            raise _damaged(path, "it is not a zip file, or not all of it") from None
        except ListTooLarge:
            why = f"it has more files than {MAX_FILES:,}, or longer names"
            raise _refusal(path, why, _BY_HAND) from None
        except CORRUPT:
            raise _damaged(path) from None
    names = [entry.name.decode().split("/", 2) for entry in entries]
    found = list(dict.fromkeys(run_id for _, run_id, _ in names))
    with_record = {run_id for _, run_id, name in names if name == EVENTS}
    if not found or found[0] not in with_record:
        raise _refusal(path, f"it has no {EVENTS}", _AGAIN)
    try:
        for run_id in with_record:
            # Those of a run are there, also if nothing is in them.
            for name in ("logs", "results"):
                runs.folder(run_id).make(name)
    except OSError as error:
        raise NotUnpacked(path, error) from None
    return [run_id for run_id in found if run_id in with_record]


def is_ours(path: str) -> bool:
    """Whether it is a file that begins as packed runs do: with a file below `runs`."""
    try:
        with _open(path) as file:
            begin = file.read(_NAME_PLACE + len(RUNS) + 1)
    except (UsageError, OSError):
        return False
    return begin.startswith(b"PK\3\4") and begin.endswith(f"{RUNS}/".encode())


def _refusal(path: str, why: str, remedy: str) -> UsageError:
    return UsageError(f"{quote(path)} is not used as a packed run: {why}; {remedy}")


def _damaged(path: str, what: str = "it is damaged") -> UsageError:
    return _refusal(path, what, "pack it, or download it, again")


@contextlib.contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    """The file, if it is a regular one: nothing else is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(f"packed run {quote(path)} not found; name a file of `mprun pack`") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the packed run {quote(path)}: {why}") from None
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegular(f"packed run {quote(path)}", mode)
        yield file


def _checked(path: str, entries: Iterable[Entry]) -> list[Entry]:
    """The files to unpack. Raises UsageError if one in the list is not for us."""
    chosen: list[Entry] = []
    seen: set[bytes] = set()
    matches = _NAME.fullmatch
    for entry in entries:
        name = entry.name
        found = matches(name)
        is_chosen = found is not None and found.lastindex == 1
        kinds = _FILE_KINDS if is_chosen or name[-1:] != b"/" else _DIRECTORY_KINDS
        if (
            found is None
            or entry.attributes >> 28 not in kinds
            or entry.flags & _IS_NOT_OURS
            or entry.method not in _COMPRESSIONS
        ):
            shown = name.decode()
            raise _refusal(path, f"{quote(shown)} in it {_flaw(entry, shown)}", _remedy(shown))
        if name in seen:
            raise _refusal(path, f"it has {quote(name.decode())} twice", _AGAIN)
        seen.add(name)
        if is_chosen:
            chosen.append(entry)
    return chosen


def _flaw(entry: Entry, name: str) -> str:
    """What is wrong with a file or directory that is not for us."""
    is_directory = name.endswith("/")
    parts = name.removesuffix("/").split("/")
    if entry.attributes >> 28 not in (_DIRECTORY_KINDS if is_directory else _FILE_KINDS):
        return "is a link, a device or the like, not a regular file"
    if name.startswith("/"):
        return "is an absolute path"
    if "\\" in name or "\0" in name:
        return "has a backslash or a NUL in its name"
    if ".." in parts:
        return "leads out of it (`..`)"
    is_ours = parts[0] == RUNS and all(is_run_id(part) for part in parts[1:2])
    if not is_ours or len(parts) < (1 if is_directory else 3):
        return f"is not a file below {RUNS}/RUN-ID/"
    if "" in parts or "." in parts or len(parts) > MAX_DEPTH + 5:
        return "is not the path of a file as mprun writes it"
    if not _NAME.fullmatch(entry.name):
        return "has too long a name"
    return "is encrypted" if entry.flags & _IS_ENCRYPTED else "is compressed as no file of mprun is"


def _remedy(name: str) -> str:
    # CI services put what is uploaded into a zip file of their own.
    return f"unpack it, and use {quote(name)}" if name.lower().endswith(".zip") else _AGAIN


def is_too_dense(unpacked: int, packed: int) -> bool:
    """Whether a zip file unpacks to so much more than its own size that it may be a bomb."""
    return unpacked > MAX_DENSE_BYTES and unpacked > MAX_RATIO * packed


def _check_size(path: str, entries: Iterable[Entry], packed: int) -> None:
    """Raise UsageError if the files say that they are too large together."""
    unpacked = sum(entry.size for entry in entries)
    if unpacked > MAX_BYTES:
        raise _refusal(path, f"it unpacks to {unpacked:,} bytes (limit: {MAX_BYTES:,})", _BY_HAND)
    if is_too_dense(unpacked, packed):
        why = f"it unpacks to {unpacked:,} bytes, {unpacked // packed:,} times its size (limit: {MAX_RATIO})"
        raise _refusal(path, why, _BY_HAND)


def _write(path: str, files: Iterable[tuple[Entry, Iterator[bytes]]], runs: Folder) -> None:
    above: list[str] = []
    folder = runs
    for entry, blocks in files:
        _, *parents, name = entry.name.decode().split("/")
        try:
            if parents != above:
                folder, above = runs, parents
                for parent in parents:
                    folder = folder.make(parent)
            descriptor = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except (FileExistsError, NotADirectoryError, NotOurs):
            # On a file system that does not distinguish capital letters, a name may be there in others.
            raise _refusal(path, f"{quote(entry.name.decode())} in it is there twice", _AGAIN) from None
        except OSError as error:
            raise NotUnpacked(path, error) from None
        with open(descriptor, "wb", buffering=0) as target:
            for data in blocks:
                piece = memoryview(data)
                try:
                    # Of the last one that fits on a disk, only the beginning may be written.
                    while piece:
                        piece = piece[target.write(piece) :]
                except OSError as error:
                    raise NotUnpacked(path, error) from None

"""Reads packed runs, which `mprun pack` writes: unpacks them for as long as a command runs.

A packed run may come from anyone. So its list of files is checked before anything is unpacked, and it is
unpacked with `state_files` into a private directory, so that every reader reads it as any other record.
docs/record.md has the rules.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import struct
import tempfile
import zipfile
import zlib
from functools import partial
from typing import IO, TYPE_CHECKING, BinaryIO

from mprun.diagnostics import quote
from mprun.errors import RecordError, UsageError
from mprun.jobfile.text_file import NotRegular
from mprun.record import garbage_collector
from mprun.record.not_shown import NOT_SHOWN
from mprun.record.state_dir import ARTIFACTS, EVENTS, RunDirectory, is_run_id
from mprun.record.state_files import Folder, NotOurs
from mprun.record.traceback_file import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# The directory in the zip file around the runs, as in a state directory.
RUNS = "runs"
# What is packed of the directory of a run, and in this order.
PARTS = (EVENTS, "logs", "results", ARTIFACTS, NOT_SHOWN, TRACEBACK)

# A zip file without the extensions of ZIP64 has no more files.
MAX_FILES = 65_535
# All files together, unpacked.
MAX_BYTES = 2 << 30
# Directories of artifacts are packed so deep.
MAX_DEPTH = 50
# What unpacks to more than this must not be larger than so many times the zip file.
MAX_DENSE_BYTES = 32 << 20
MAX_RATIO = 100

MAX_NAME_BYTES = 255
# The list of the files at the end of a zip file, of which each takes so much more than its name.
MAX_LIST_BYTES = 16 << 20
LIST_ENTRY_BYTES = 46
# The record at the end of a zip file that has no comment: its signature, the numbers of this disk and of that
# with the list, twice how many files there are, the size and the place of the list, and that of the comment.
_END = struct.Struct("<4s4HLLH")
_END_SIGNATURE, _LOCATOR_64_SIGNATURE, _ENTRY_SIGNATURE = b"PK\5\6", b"PK\6\7", b"PK\1\2"
_LOCATOR_64_BYTES = 20
_IS_ENCRYPTED = 1
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# The kinds of a regular file, by the highest bits of its mode, and of one that does not say: and how many
# characters are never more bytes than a name may have.
_PLAIN_KINDS = (0, stat.S_IFREG >> 12)
_MAX_PLAIN_NAME = MAX_NAME_BYTES // 4
# Where the name of the first file is.
_NAME_PLACE = 30
BLOCK_SIZE = 1 << 18

# What zipfile raises for files that are corrupt, some of it by mistake.
_CORRUPT = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    OSError,
    RuntimeError,
    ValueError,
)

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
            with _archive(path, file) as archive:
                entries = list(_checked(path, archive))
                _check_size(path, entries, os.fstat(file.fileno()).st_size)
                _write(path, archive, entries, runs)
        except _CORRUPT:
            raise _damaged(path) from None
    found = list(dict.fromkeys(parts[1] for _, parts in entries))
    with_record = {parts[1] for _, parts in entries if parts[2:] == [EVENTS]}
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


def _archive(path: str, file: BinaryIO) -> zipfile.ZipFile:
    """The zip file, if it is no larger than one of ours: zipfile reads a list of any size into memory."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _LOCATOR_64_BYTES - _END.size))
    tail = file.read()
    end = tail[-_END.size :]
    if len(end) < _END.size or not end.startswith(_END_SIGNATURE) or not end.endswith(b"\0\0"):
        raise _damaged(path, "it is not a zip file, or not all of it")
    _, _, _, _, count, list_bytes, _, _ = _END.unpack(end)
    is_large = tail[: -_END.size].startswith(_LOCATOR_64_SIGNATURE) or list_bytes > MAX_LIST_BYTES
    if not is_large:
        file.seek(max(0, size - _END.size - list_bytes))
        is_large = file.read(list_bytes).count(_ENTRY_SIGNATURE) > MAX_FILES
    if is_large:
        raise _refusal(path, f"it has more files than {MAX_FILES:,}, or longer names", _BY_HAND)
    # An eighth less for as many files as there may be, each of which is a few objects.
    with garbage_collector.paused():
        archive = zipfile.ZipFile(file)
    if len(archive.infolist()) != count:
        raise _damaged(path)
    return archive


def _checked(path: str, archive: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, list[str]]]:
    """The files to unpack, with the parts of their names. Raises UsageError if one is not for us."""
    seen: set[str] = set()
    # The directories of files that are for us: most of 65,535 files are in few of them, and all are checked
    # in a tenth of a second then.
    known: dict[str, list[str]] = {}
    for info in archive.infolist():
        # As it is in the file: zipfile ends a name at a NUL.
        name = info.orig_filename
        parent, _, last = name.rpartition("/")
        is_directory = not last
        if parent in known and _is_plain(info, last):
            parts = [*known[parent], last]
        else:
            parts = name.removesuffix("/").split("/")
            if flaw := _flaw(info, name, parts, is_directory=is_directory):
                raise _refusal(path, f"{quote(name)} in it {flaw}", _remedy(name))
            if not is_directory:
                known[parent] = parts[:-1]
        if name in seen:
            raise _refusal(path, f"it has {quote(name)} twice", _AGAIN)
        seen.add(name)
        # What another version may pack is left out.
        if not is_directory and parts[2] in PARTS:
            yield info, parts


def _is_plain(info: zipfile.ZipInfo, last: str) -> bool:
    """Whether `_flaw` finds nothing wrong with a file if it found nothing in the names of its directories."""
    return (
        0 < len(last) <= _MAX_PLAIN_NAME
        and last not in (".", "..")
        and "\\" not in last
        and "\0" not in last
        and info.external_attr >> 28 in _PLAIN_KINDS
        and not info.flag_bits & _IS_ENCRYPTED
        and info.compress_type in _COMPRESSIONS
    )


def _flaw(info: zipfile.ZipInfo, name: str, parts: list[str], *, is_directory: bool) -> str:
    """What is wrong with an entry; empty if nothing is."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if is_directory else stat.S_IFREG):
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
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        return "has too long a name"
    if info.flag_bits & _IS_ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _COMPRESSIONS:
        return "is compressed as no file of mprun is"
    return ""


def _remedy(name: str) -> str:
    # CI services put what is uploaded into a zip file of their own.
    return f"unpack it, and use {quote(name)}" if name.lower().endswith(".zip") else _AGAIN


def is_too_dense(unpacked: int, packed: int) -> bool:
    """Whether a zip file unpacks to so much more than its own size that it may be a bomb."""
    return unpacked > MAX_DENSE_BYTES and unpacked > MAX_RATIO * packed


def _check_size(path: str, entries: list[tuple[zipfile.ZipInfo, list[str]]], packed: int) -> None:
    """Raise UsageError if the files say that they are too large together."""
    unpacked = sum(info.file_size for info, _ in entries)
    if unpacked > MAX_BYTES:
        raise _refusal(path, f"it unpacks to {unpacked:,} bytes (limit: {MAX_BYTES:,})", _BY_HAND)
    if is_too_dense(unpacked, packed):
        why = f"it unpacks to {unpacked:,} bytes, {unpacked // packed:,} times its size (limit: {MAX_RATIO})"
        raise _refusal(path, why, _BY_HAND)


def _write(
    path: str, archive: zipfile.ZipFile, entries: list[tuple[zipfile.ZipInfo, list[str]]], runs: Folder
) -> None:
    above: list[str] = []
    folder = runs
    for info, (_, *parents, name) in entries:
        try:
            if parents != above:
                folder, above = runs, parents
                for parent in parents:
                    folder = folder.make(parent)
            descriptor = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except (FileExistsError, NotADirectoryError, NotOurs):
            # On a file system that does not distinguish capital letters, a name may be there in others.
            raise _refusal(path, f"{quote(info.filename)} in it is there twice", _AGAIN) from None
        except OSError as error:
            raise NotUnpacked(path, error) from None
        with open(descriptor, "wb", buffering=0) as target, archive.open(info) as source:
            _copy(path, source, target, info.file_size)


def _copy(path: str, source: IO[bytes], target: IO[bytes], size: int) -> None:
    """Unpack a file, whose size must be what the list says."""
    left = size
    # Also an empty file is read, so that its checksum is compared.
    while data := source.read(BLOCK_SIZE):
        left -= len(data)
        if left < 0:
            break
        piece = memoryview(data)
        try:
            # Of the last one that fits on a disk, only the beginning may be written.
            while piece:
                piece = piece[target.write(piece) :]
        except OSError as error:
            raise NotUnpacked(path, error) from None
    if left:
        raise zipfile.BadZipFile("another size than the list says")

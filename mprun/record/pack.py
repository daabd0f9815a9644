"""Packs a run: its record, logs, results and artifacts, and those of the runs that it resumed, as one file.

The file is a zip file with the layout of a state directory: unpacked by hand, it is one. The same run is
always packed to the same bytes.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, BinaryIO

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.record.packed_run import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NAME_BYTES,
    MAX_RATIO,
    PARTS,
    RUNS,
    is_too_dense,
)
from mprun.record.reader import is_active
from mprun.record.resume import read_lineage
from mprun.record.zip_reader import BLOCK_SIZE, LIST_ENTRY_BYTES, MAX_FILES, MAX_LIST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import Folder

# Whether a file compresses too well is only found out of one that is larger.
_MAX_UNCHECKED_BYTES = 1 << 20


class _Entry(Frozen):
    """A file that is packed: where it is, its name there, in the zip file, and its size now."""

    folder: Folder
    file: str
    name: str
    size: int


class Packed(Frozen):
    """What was packed: the runs, the one that was asked for first; how many files, and their size in bytes.

    `left_out` are names in the record that cannot be packed. `is_dense` says that the file compresses so
    well that readers will take it for a bomb.
    """

    runs: tuple[str, ...]
    files: int
    size: int
    left_out: tuple[str, ...]
    is_dense: bool


def pack(directory: RunDirectory, state: RunState, target: IO[bytes]) -> Packed:
    """Pack a run that has ended, and the runs that it resumed, into an open file.

    Raises UsageError for an active run, and for one that is too large; OSError if the file cannot be
    written.
    """
    if is_active(directory, state):
        raise UsageError(
            f"run {directory.run_id} is still running; pack it when it has ended, "
            "because to resume it would do its work twice"
        )
    left_out: list[str] = []
    runs: list[str] = []
    entries: list[_Entry] = []
    for earlier, _ in read_lineage(directory, state):
        runs.append(earlier.run_id)
        entries += _entries(earlier, left_out)
    size = sum(entry.size for entry in entries)
    listed = sum(LIST_ENTRY_BYTES + len(entry.name.encode()) for entry in entries)
    if len(entries) > MAX_FILES or size > MAX_BYTES or listed > MAX_LIST_BYTES:
        raise _too_large(directory, len(entries), size)
    files = 0
    try:
        with zipfile.ZipFile(target, "w", allowZip64=False) as archive:
            for entry, source in _opened(entries, left_out):
                _add(archive, entry, source)
                files += 1
    except zipfile.LargeZipFile:
        raise _too_large(directory, len(entries), size) from None
    return Packed(
        runs=tuple(runs),
        files=files,
        size=size,
        left_out=tuple(left_out),
        is_dense=is_too_dense(size, target.tell()),
    )


def _too_large(directory: RunDirectory, files: int, size: int) -> UsageError:
    return UsageError(
        f"run {directory.run_id} is too large to be packed: {files:,} files of {size:,} bytes "
        f"(limits: {MAX_FILES:,} and {MAX_BYTES:,}); use `tar` on {quote(directory.path)}, and unpack that "
        "into `runs` of a state directory"
    )


def _entries(directory: RunDirectory, left_out: list[str]) -> Iterator[_Entry]:
    """The files of a run, in an order that depends on their names alone."""
    for part in PARTS:
        yield from _below(directory.folder, part, f"{RUNS}/{directory.run_id}/{part}", MAX_DEPTH, left_out)


def _below(folder: Folder, file: str, name: str, depth: int, left_out: list[str]) -> Iterator[_Entry]:
    try:
        found = folder.stat(file)
    except FileNotFoundError:
        return
    if not _is_name(file):
        left_out.append(name)
    elif stat.S_ISREG(found.st_mode):
        yield _Entry(folder=folder, file=file, name=name, size=found.st_size)
    elif stat.S_ISDIR(found.st_mode) and depth:
        inner = folder.folder(file)
        try:
            names = sorted(inner.names())
        except OSError:
            left_out.append(name)
            return
        for one in names:
            yield from _below(inner, one, f"{name}/{one}", depth - 1, left_out)
        # Opened again when they are packed: there may be thousands.
        inner.close()
    else:
        # What a link leads to is not a part of the record.
        left_out.append(name)


def _is_name(name: str) -> bool:
    """Whether a reader accepts a file of this name: a task may give its artifacts any."""
    try:
        return "\\" not in name and len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def _opened(entries: list[_Entry], left_out: list[str]) -> Iterator[tuple[_Entry, BinaryIO]]:
    folder = None
    for entry in entries:
        if entry.folder is not folder:
            _close(folder)
            folder = entry.folder
        try:
            source = open(folder.open(entry.file), "rb")  # noqa: SIM115  closed below
        except OSError:
            # Another user's, or one that its task has made unreadable.
            left_out.append(entry.name)
        else:
            with source:
                yield entry, source
    _close(folder)


def _close(folder: Folder | None) -> None:
    """Hold neither a directory open any more, nor those around it: a record may have thousands."""
    while folder is not None:
        folder.close()
        folder = folder.within


def _add(archive: zipfile.ZipFile, entry: _Entry, source: BinaryIO) -> None:
    info = zipfile.ZipInfo(entry.name)
    # As on every system.
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o600) << 16
    info.file_size = entry.size
    # What compresses too well is not compressed: else readers would take it for a bomb.
    is_dense = entry.size > _MAX_UNCHECKED_BYTES and entry.size > MAX_RATIO * _compressed_size(source)
    info.compress_type = zipfile.ZIP_STORED if is_dense else zipfile.ZIP_DEFLATED
    with archive.open(info, "w") as copy:
        left = entry.size
        while left and (data := source.read(min(left, BLOCK_SIZE))):
            copy.write(data)
            left -= len(data)


def _compressed_size(source: BinaryIO) -> int:
    compressor = zlib.compressobj()
    size = sum(len(compressor.compress(data)) for data in iter(lambda: source.read(BLOCK_SIZE), b""))
    source.seek(0)
    return size + len(compressor.flush())

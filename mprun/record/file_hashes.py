"""Finds and hashes the files that a task reads and makes: regular files that do not change meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.frozen import Frozen
from mprun.record.file_patterns import find_matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# The times of files are up to this far behind the clock of programs. A change that follows another one sooner
# does not show. In nanoseconds.
TICK_NS = 20_000_000
# A task may have so many files; also directories are counted that are looked into.
MAX_FILES = 100_000
# No source file is longer.
MAX_SOURCE_BYTES = 64 << 20
_PART_BYTES = 1 << 20
# Python puts compiled modules there while a task runs.
_CACHE = "__pycache__"

Signature = tuple[int, int, int, int, int]


class Unusable(Exception):
    """Files that cannot be compared; the text says why."""


class HashedFile(Frozen):
    """The SHA-256 of a file, whether its owner may execute it, and its signature at that time."""

    digest: str
    executable: bool
    signature: Signature


def hash_matches(patterns: Sequence[str], folder: str, key: str) -> dict[str, HashedFile]:
    """Each regular file that one of the patterns matches, by its path, sorted.

    Relative patterns start at `folder`; `key` is what the job file calls them. Names with a dot at the
    front match only a pattern that has it, and what is in a `__pycache__` never does. Raises Unusable.
    """
    found: set[str] = set()
    for pattern in patterns:
        matches = set(_files(pattern, folder, key))
        if not matches:
            why = (
                "is a directory: write `/**` behind it" if _is_folder(pattern, folder) else "matches no file"
            )
            raise Unusable(f"{quote(pattern)} in `{key}` {why}")
        found |= matches
    if len(found) > MAX_FILES:
        raise Unusable(_too_many(key))
    return {path: hash_file(os.path.join(folder, path)) for path in sorted(found)}


def digests(files: Mapping[str, HashedFile]) -> dict[str, str]:
    """The SHA-256 of each file; one that may be executed is another than one that may not."""
    return {path: f"{found.digest} x" if found.executable else found.digest for path, found in files.items()}


def _files(pattern: str, folder: str, key: str) -> Iterator[str]:
    try:
        for number, path in enumerate(find_matches(pattern, folder)):
            if number == MAX_FILES:
                raise Unusable(_too_many(key))
            if _CACHE not in path.split(os.sep) and not os.path.isdir(os.path.join(folder, path)):
                yield path
    except (OSError, ValueError) as error:
        raise Unusable(f"{quote(pattern)} in `{key}`: {getattr(error, 'strerror', None) or error}") from None


def _is_folder(pattern: str, folder: str) -> bool:
    return os.path.isdir(os.path.join(folder, pattern))


def _too_many(key: str) -> str:
    return f"`{key}` matches more than {MAX_FILES:,} files and directories"


def hash_file(path: str) -> HashedFile:
    """The SHA-256 of a regular file. Raises Unusable, also if it changes meanwhile."""
    before = signature(path)
    digest = hashlib.sha256()
    for part in _read(path):
        digest.update(part)
    found = _stat(path)
    if _signature(found) != before:
        raise Unusable(_changed(path))
    executable = bool(found.st_mode & stat.S_IXUSR)
    return HashedFile(digest=digest.hexdigest(), executable=executable, signature=before)


def read_source(path: str) -> tuple[bytes, Signature]:
    """The content of a source file, and its signature. Raises Unusable, also if it changes meanwhile."""
    before = signature(path)
    if before[2] > MAX_SOURCE_BYTES:
        raise Unusable(f"{quote(path)} is longer than {MAX_SOURCE_BYTES >> 20} MiB")
    data = b"".join(_read(path))
    if signature(path) != before:
        raise Unusable(_changed(path))
    return data, before


def signature(path: str) -> Signature:
    """Device, inode, size, and the times of the last changes in nanoseconds. Raises Unusable."""
    return _signature(_stat(path))


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise Unusable(_unreadable(path, error)) from None


def look(path: str) -> Signature | None:
    """The signature of a file or directory; None if it is not there."""
    try:
        return signature(path)
    except Unusable:
        return None


def _signature(found: os.stat_result) -> Signature:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: str) -> Iterator[bytes]:
    try:
        # A FIFO without a writer must not hold it up.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Unusable(_unreadable(path, error)) from None
    try:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode):
            raise Unusable(f"{quote(path)} is not a regular file")
        while part := os.read(file, _PART_BYTES):
            yield part
        if _signature(os.fstat(file)) != _signature(before):
            raise Unusable(_changed(path))
    except OSError as error:
        raise Unusable(_unreadable(path, error)) from None
    finally:
        os.close(file)


def _unreadable(path: str, error: Exception) -> str:
    return f"{quote(path)} cannot be read: {getattr(error, 'strerror', None) or error}"


def _changed(path: str) -> str:
    return f"{quote(path)} changed while it was read"

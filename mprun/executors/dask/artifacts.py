"""The artifacts of attempts on hosts: how their files are sent, and how they come into the record of the run.

Regular files and directories are sent, as they are copied from shards and packed, with their permissions and
the times at which they were modified; links and the like stay on the host. Holes stay holes. In the record
all files of an attempt appear at once, before its end is shown.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

from mprun.executors.dask.pieces import append_piece, length_of, read_piece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.executors.dask.pieces import Piece

# The names below a task's directory that lead to a file.
Path = tuple[str, ...]
# The permissions of a file or directory, and when it was modified, in ns since 1970.
Attributes = tuple[int, int]

# Directories are sent so deep, as they are packed.
MAX_DEPTH = 50
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Without set-user-ID and the like: the file may have another owner here.
_PERMISSIONS = stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def pieces(directory: str) -> Iterator[tuple[Path, Piece | Attributes | None]]:
    """The files below a directory in pieces, and the directories, which are None in place of a piece.

    The attributes of each follow what is in it. A task may have removed its own. Raises OSError if something
    cannot be read.
    """
    try:
        folder = os.open(directory, _DIRECTORY)
    except FileNotFoundError:
        # If more than that is gone, the task is not what has removed it.
        if not os.path.isdir(os.path.dirname(directory)):
            raise
        return
    yield from _pieces(folder, (), MAX_DEPTH)


def _pieces(folder: int, path: Path, depth: int) -> Iterator[tuple[Path, Piece | Attributes | None]]:
    try:
        for name in sorted(os.listdir(folder)):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            mode = found.st_mode
            if stat.S_ISDIR(mode) and depth:
                yield (*path, name), None
                yield from _pieces(os.open(name, _DIRECTORY, dir_fd=folder), (*path, name), depth - 1)
                # What is in it can be moved and removed in the record.
                yield (*path, name), (mode & _PERMISSIONS | stat.S_IRWXU, found.st_mtime_ns)
            elif stat.S_ISREG(mode):
                file = os.open(name, _READ, dir_fd=folder)
                try:
                    for piece in _pieces_of_file(file):
                        yield (*path, name), piece
                finally:
                    os.close(file)
                yield (*path, name), (mode & _PERMISSIONS, found.st_mtime_ns)
    finally:
        os.close(folder)


def _pieces_of_file(file: int) -> Iterator[Piece]:
    """At least one: of an empty file, too. What may still write to it makes it no longer."""
    offset, end = 0, os.fstat(file).st_size
    piece = read_piece(file, offset)
    yield piece
    while piece and (offset := offset + length_of(piece)) < end:
        piece = read_piece(file, offset)
        yield piece


def require_name(name: str) -> None:
    """Raise OSError for what would be a path to elsewhere: a host has named it."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise OSError(f"a host has sent {name!r} as the name of a file")


class ArrivingArtifacts:
    """What has arrived of one attempt, in a directory beside those of the tasks, until it is complete.

    `artifacts` is their open directory, `part` a name in it that is nothing else's.
    """

    def __init__(self, artifacts: int, part: str) -> None:
        self._artifacts = artifacts
        self._part = part
        # Why it is not complete, "" if it is.
        self.error = ""
        try:
            self.remove()
            os.mkdir(part, 0o700, dir_fd=artifacts)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.error = self.error or error.strerror or str(error)

    def add(self, path: Path, data: Piece | Attributes | None) -> None:
        """Add a piece to a file, make a directory, or give one of them its attributes."""
        if self.error:
            return
        try:
            for name in path:
                require_name(name)
            folder = _open(self._artifacts, (self._part, *path[:-1]))
            try:
                if data is None:
                    os.mkdir(path[-1], 0o700, dir_fd=folder)
                elif isinstance(data, tuple):
                    _set_attributes(folder, path[-1], *data)
                else:
                    file = os.open(path[-1], _CREATE, 0o600, dir_fd=folder)
                    try:
                        append_piece(file, data)
                    finally:
                        os.close(file)
            finally:
                os.close(folder)
        except OSError as error:
            self._fail(error)

    def keep(self, task: str) -> None:
        """Give all that has arrived to the directory of a task, beside what earlier attempts have left."""
        if self.error:
            return
        try:
            require_name(task)
            _move(self._artifacts, self._part, self._artifacts, task)
        except OSError as error:
            self._fail(error)

    def remove(self) -> None:
        """Remove what is left of it."""
        # What cannot be removed has a name that no task has.
        with contextlib.suppress(OSError):
            shutil.rmtree(self._part, dir_fd=self._artifacts)


def _set_attributes(folder: int, name: str, permissions: int, modified: int) -> None:
    entry = os.open(name, _READ, dir_fd=folder)
    try:
        os.fchmod(entry, permissions & _PERMISSIONS)
        # A file system may not know of such a time.
        with contextlib.suppress(OSError, OverflowError):
            os.utime(entry, ns=(modified, modified))
    finally:
        os.close(entry)


def _open(folder: int, path: Path) -> int:
    """Open a directory, step by step: none of them is a link."""
    here = os.dup(folder)
    for name in path:
        try:
            below = os.open(name, _DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _move(source: int, name: str, target: int, to: str) -> None:
    """Move a file or directory; what has its place is replaced, but directories become one."""
    try:
        # In place of an empty directory, too.
        os.rename(name, to, src_dir_fd=source, dst_dir_fd=target)
        return
    except OSError:
        if not _exists(target, to):
            raise
    if not _both_are_directories(source, name, target, to):
        _remove(target, to)
        os.rename(name, to, src_dir_fd=source, dst_dir_fd=target)
        return
    below, into = os.open(name, _DIRECTORY, dir_fd=source), os.open(to, _DIRECTORY, dir_fd=target)
    try:
        for each in os.listdir(below):
            _move(below, each, into, each)
    finally:
        os.close(below)
        os.close(into)
    os.rmdir(name, dir_fd=source)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _both_are_directories(source: int, name: str, target: int, to: str) -> bool:
    places = ((source, name), (target, to))
    modes = (os.stat(each, dir_fd=folder, follow_symlinks=False).st_mode for folder, each in places)
    return all(map(stat.S_ISDIR, modes))


def _remove(folder: int, name: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)

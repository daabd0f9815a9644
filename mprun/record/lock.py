"""The lock on a record, by which the kernel says which process writes it.

The lock is POSIX's (fcntl(2)): the kernel reports the pid of its holder, and drops it when the holder
ends, however it ends. The kernel also drops it when the holder closes any other descriptor of
the same file. So the engine opens its record once, and a process that reads a record which may
be its own takes the lock again afterwards: use `open_record`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from mprun.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory

# The records that this process writes: their descriptors by device and inode.
_held: dict[tuple[int, int], int] = {}


def create_record(directory: RunDirectory) -> int:
    """Create the record of a run that has not begun, locked; its descriptor. Raises RecordError.

    Before anything of the run is there that another start could find: it may not see this process, which may
    be in another container, but it can see the lock.
    """
    try:
        file = directory.open_starting(os.O_CREAT | os.O_EXCL)
    except OSError as error:
        raise RecordError(f"the record cannot be written: {error.strerror}") from None
    acquire(file)
    return file


def acquire(file: int) -> bool | None:
    """Lock a record that this process is about to write; false if another process holds the lock.

    None if the file system has no locks: then the pidfile has to show that the run is active.
    """
    locked: bool | None = True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        locked = None
    _held[_identity(os.fstat(file))] = file
    return locked


def close_record(file: int) -> None:
    """Close a record; the kernel drops the lock then."""
    _held.pop(_identity(os.fstat(file)), None)
    os.close(file)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def open_record(directory: RunDirectory) -> Iterator[BinaryIO]:
    """Open a record for reading; a lock that this process has on it is kept. Raises OSError."""
    try:
        with open(directory.open_events(), "rb") as file:
            yield file
    finally:
        _lock_again(directory)


def _lock_again(directory: RunDirectory) -> None:
    """Take the lock that this process had on a record before it closed another descriptor of it."""
    with contextlib.suppress(OSError, KeyError):
        fcntl.lockf(_held[_identity(directory.stat_events())], fcntl.LOCK_EX | fcntl.LOCK_NB)


def find_writer(directory: RunDirectory) -> int | None:
    """The pid of the process that writes this record now; None if there is none.

    The pid comes from the kernel at this moment, so it is not one that another process has got since.
    0 is a process that this one cannot see, in another container. The file may be read-only. On a file
    system without locks it is the process that the pidfile names, if it has the record open.
    """
    try:
        if _identity(directory.stat_events()) in _held:
            # A process's own lock does not conflict, and closing the file would drop it.
            return os.getpid()
        file = directory.open_events()
    except OSError:
        return None
    try:
        return _find_holder(file)
    except OSError:
        return _find_marked(directory)
    finally:
        os.close(file)


def _find_marked(directory: RunDirectory) -> int | None:
    from mprun.record.pidfile import PidFile

    owner = PidFile(directory).owner()
    return None if owner is None else owner.find_writer(directory)


def is_over(directory: RunDirectory) -> bool:
    """Whether certainly no process writes this record: the lock is free, or its process has ended."""
    try:
        file = directory.open_events()
    except OSError:
        return False
    try:
        return _find_holder(file) is None
    except OSError:
        from mprun.record.pidfile import PidFile

        owner = PidFile(directory).owner()
        return owner is not None and owner.has_ended
    finally:
        os.close(file)


def _find_holder(file: int) -> int | None:
    """The pid of the process whose lock conflicts with one of our own."""
    # Half a millisecond to import, and no run needs it.
    import struct

    # `struct flock` of fcntl(2), which starts with the type on Linux and ends with it elsewhere.
    on_linux = sys.platform == "linux"
    layout = struct.Struct("hhqqi0q" if on_linux else "qqihh")
    request = (fcntl.F_WRLCK, 0, 0, 0, 0) if on_linux else (0, 0, 0, fcntl.F_WRLCK, 0)
    answer = layout.unpack(fcntl.fcntl(file, fcntl.F_GETLK, layout.pack(*request)))
    kind, pid = (answer[0], answer[4]) if on_linux else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)

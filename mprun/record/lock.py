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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_dir import RunDirectory

# The records that this process writes: their descriptors by device and inode.
_held: dict[tuple[int, int], int] = {}


def acquire(file: int) -> bool:
    """Lock a record that this process is about to write; false if another process holds the lock."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        # A file system without locks: no other process can tell that the run is active.
        pass
    _held[_identity(os.fstat(file))] = file
    return True


def release(file: int) -> None:
    """Forget a record that this process is about to close; the kernel drops the lock then."""
    _held.pop(_identity(os.fstat(file)), None)


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
    0 is a process that this one cannot see, in another container. The file may be read-only.
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
        return None
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

"""splice(2): moves bytes from a pipe into a file, so that a kill at any moment loses none of them."""

from __future__ import annotations

import errno
import os

# How much a pipe can hold (pipe(7)), and one through which much comes, in bytes: a writer that finds it
# full has to wait until another process has run.
PIPE_BYTES = 1 << 16
LARGE_PIPE_BYTES = 1 << 20
# How much is moved at a time, in bytes: everything that had been written before the pass began.
PASS_BYTES = LARGE_PIPE_BYTES
# From <linux/fcntl.h>; Python has it under a name since 3.10, in a module that few jobs need.
_F_SETPIPE_SZ = 1031
# From <linux/splice.h>.
_SPLICE_F_NONBLOCK = 2
# What a file system that cannot do it gives, or a sandbox that forbids it.
_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.EPERM)


def enlarge(read_end: int) -> int:
    """Let a pipe hold LARGE_PIPE_BYTES, unless this user has too many such pipes; what it can hold."""
    import fcntl

    try:
        return fcntl.fcntl(read_end, _F_SETPIPE_SZ, LARGE_PIPE_BYTES)
    except OSError:
        return PIPE_BYTES


def move(read_end: int, file: int) -> int:
    """Move what a pipe has now, at most PASS_BYTES, into a file that was not opened for appending.

    The number of bytes; 0 if no process has the pipe open for writing any more. Raises BlockingIOError
    if the pipe, which must not block, is empty, and OSError if the file cannot be written: then the bytes
    are still in the pipe.
    """
    try:
        # The kernel takes bytes out of the pipe once they are in the file.
        return os.splice(read_end, file, PASS_BYTES, flags=_SPLICE_F_NONBLOCK)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    return _copy(read_end, file)


def _copy(read_end: int, file: int) -> int:
    """As `move`, but a kill between the two calls, or a full disk, loses these bytes."""
    data = os.read(read_end, PASS_BYTES)
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
    return len(data)

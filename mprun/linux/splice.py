"""splice(2): moves bytes from a pipe into a file, so that a kill at any moment loses none of them."""

from __future__ import annotations

import errno
import os

# How much is moved at a time: at least what a pipe can hold (pipe(7)), so that one pass moves
# everything that had been written before it began.
PASS_BYTES = 1 << 16
# From <linux/splice.h>.
_SPLICE_F_NONBLOCK = 2
# What a file system that cannot do it gives, or a sandbox that forbids it.
_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.EPERM)


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

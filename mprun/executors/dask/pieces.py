"""Files in pieces, as they travel between a host and the bridge: data, or the length of a hole.

A file that was made longer than what was written to it (`truncate`, `seek`) has holes, which take no space
and read as zeros: a terabyte of them is a number here, and a hole again in the record of the run.
"""

from __future__ import annotations

import errno
import os

# How much of a file is sent at once, in bytes.
PIECE_BYTES = 1 << 18
# In stat(2).
_BLOCK_BYTES = 512
# The largest size of a file that a system call takes.
_MAX_SIZE = (1 << 63) - 1

# Some bytes, or how many of a hole.
Piece = bytes | int


def read_piece(file: int, offset: int) -> Piece:
    """The piece of a file that begins there; b"" at its end. Raises OSError."""
    found, size = os.fstat(file), PIECE_BYTES
    if found.st_blocks * _BLOCK_BYTES < found.st_size:
        begin = _next(file, offset, os.SEEK_DATA, found.st_size)
        if begin > offset:
            return begin - offset
        size = min(size, _next(file, offset, os.SEEK_HOLE, found.st_size) - offset) or size
    return os.pread(file, size, offset)


def _next(file: int, offset: int, what: int, size: int) -> int:
    """Where data or a hole begins from an offset on; the end of the file if there is none."""
    if offset >= size:
        return offset
    try:
        return os.lseek(file, offset, what)
    except OSError as error:
        # Only a hole follows; or this file system does not know.
        return size if error.errno == errno.ENXIO else offset


def length_of(piece: Piece) -> int:
    """How many bytes of the file it is."""
    return piece if isinstance(piece, int) else len(piece)


def append_piece(file: int, piece: Piece) -> None:
    """Append to a file that is open for appending. Raises OSError."""
    if isinstance(piece, int):
        size = os.fstat(file).st_size + piece
        if piece < 0 or size > _MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        os.ftruncate(file, size)
        return
    view = memoryview(piece)
    while view:
        view = view[os.write(file, view) :]

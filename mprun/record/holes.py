"""Goes past the holes of sparse files: blocks that take no disk space and are read as NULs (lseek(2))."""

from __future__ import annotations

import contextlib
import errno
import os

# Shorter holes are read as the NULs that they are, in bytes.
_MIN_HOLE = 1 << 20


def skip_hole(file: int, piece: bytes) -> int:
    """Go to the end of the hole in which a piece begins that was just read; its length, 0 if there is none.

    Then nothing of the piece is data. A file system that knows no holes has none.
    """
    if not piece or piece.strip(b"\0"):
        return 0
    position = os.lseek(file, 0, os.SEEK_CUR)
    begin = position - len(piece)
    skipped = 0
    with contextlib.suppress(OSError):
        skipped = _next_data(file, begin) - begin
    if skipped < _MIN_HOLE:
        skipped, begin = 0, position
    os.lseek(file, begin + skipped, os.SEEK_SET)
    return skipped


def _next_data(file: int, begin: int) -> int:
    try:
        return os.lseek(file, begin, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        # There is only a hole up to the end.
        return os.fstat(file).st_size

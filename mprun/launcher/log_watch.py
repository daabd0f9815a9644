"""Notices that a log was truncated: a target's output is its log itself, and it may open it again.

Few tasks run for so long that their logs are looked at.
"""

from __future__ import annotations

import contextlib
import os
from stat import S_ISREG

from mprun.launcher import worker
from mprun.linux.file_kinds import why_not_own

# So many bytes at either end show whether a log was truncated and has grown again since.
_END_BYTES = 64


class LogWatch:
    """What a log was when it was last looked at; `lost` is how many bytes are known to be in it no more."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._size = self._changed = 0
        self._ends = (b"", b"")
        self.lost = 0

    def look(self) -> None:
        """Compare the log with what it was."""
        # It may be gone, or something else in its place.
        with contextlib.suppress(OSError):
            found = os.stat(self._log, dir_fd=worker.logs, follow_symlinks=False)
            if (found.st_size, found.st_mtime_ns) == (self._size, self._changed):
                return
            if not S_ISREG(found.st_mode) or (not self._size and why_not_own(found)):
                # Its process, which may still be starting, replaces it.
                return
            file = os.open(self._log, os.O_RDONLY | worker.AS_FILE, dir_fd=worker.logs)
            try:
                self._compare(file, found.st_mtime_ns)
            finally:
                os.close(file)

    def _compare(self, file: int, changed: int) -> None:
        size = os.fstat(file).st_size
        if size < self._size:
            lost = self._size - size
        else:
            # It may have been truncated, and have grown again since.
            lost = _lost(self._ends, _ends(file, self._size), self._size)
        self._ends = _ends(file, size)
        self._size, self._changed = size, changed
        self.lost += lost

    def report(self) -> None:
        """Note in the log that it was truncated, if it was."""
        self.look()
        if self.lost:
            lost = "1 byte is lost" if self.lost == 1 else f"{self.lost} bytes are lost"
            text = f"mprun: this log was truncated while the task ran; at least {lost}\n"
            # Few logs are truncated.
            from mprun.launcher.own_files import append

            with contextlib.suppress(OSError):
                append(worker.logs, self._log, text)


def _ends(file: int, size: int) -> tuple[bytes, bytes]:
    """The first bytes of a file and the last ones before `size`, by which it is known again."""
    return os.pread(file, _END_BYTES, 0), os.pread(file, min(size, _END_BYTES), max(0, size - _END_BYTES))


def _lost(before: tuple[bytes, bytes], now: tuple[bytes, bytes], size: int) -> int:
    """How many of the `size` bytes that a file had are surely lost, by what was at both ends of them."""
    if now[0][: len(before[0])] != before[0]:
        return size
    return int(now[1] != before[1])

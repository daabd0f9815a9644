"""Follows a file that grows, in whole lines and bounded memory."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.state_files import StateFile

# Bytes: long output, and a line longer than this, is passed on in pieces of this size.
PIECE = 256 * 1024
# The last lines of a file are searched for in so many bytes at its end: most of it may be a hole.
MAX_SEARCHED = 1 << 30
# So many of the last bytes that were read show whether a file was truncated and has grown again since.
_REMEMBERED = 64
# So many looks at an empty log also see whether a task has removed it, and then each of so many, which is
# twice a second: most logs that stay empty for long are those of a task that waits.
_FIRST_LOOKS, _LOOKS_AT_NAME = 10, 5
_TRUNCATED = "… the log was truncated here: what is above is in it no more"


class Tail:
    """Reads what was added to a log since the last read; the log may not exist yet.

    With `lines`, it begins with so many of the lines that the file has at the first read.
    """

    def __init__(self, log: StateFile, *, lines: int | None = None) -> None:
        self._log = log
        self._lines = lines
        self._file: int | None = None
        # Where to read on in a file that was set aside.
        self._position: int | None = None
        self._has_begun = False
        # What is known of the file since it was read to its end.
        self._seen: tuple[int, int, int] | None = None
        self._rest = b""
        # What is in front of the position in the file, as far as it is known.
        self._last = b""
        self._lost = 0
        self._looks = 0

    def read(self, *, to_end: bool = False) -> Iterator[bytes]:
        """Pieces of whole lines, each ending in a line feed; at most one piece without `to_end`.

        With `to_end`, an unfinished last line is included, and a line feed is added.
        """
        # Each open file counts.
        if self.is_empty() or (self._file is None and not self._open()):
            return
        # Before it is read: what is written meanwhile is news.
        seen = self._marks(self._file)  # type: ignore[arg-type]
        while data := self._read_more():
            piece, self._rest = self._cut(self._rest + data)
            if piece:
                yield piece
            if not to_end and len(data) == PIECE:
                return
        self._seen = seen
        if to_end and self._rest:
            piece, self._rest = self._rest + b"\n", b""
            yield piece

    def is_empty(self) -> bool:
        """Whether nothing was written to it so far, as is true of many tasks' logs."""
        if not self._has_begun:
            self._has_begun = self._log.size() > 0
        return not self._has_begun

    def has_news(self, *, hold: bool = False) -> bool:
        """Whether `read` may find something new: one call of the kernel, and `read` makes five.

        With `hold`, the log is opened while it is still empty, which makes that call a cheaper one.
        """
        if self._file is None:
            # A command that has printed nothing has no log.
            if not self._log.exists():
                return False
            if not (hold and self._open()):
                return not self.is_empty()
        if not self._has_begun:
            return self._has_grown(self._file)  # type: ignore[arg-type]
        marks = self._marks(self._file)  # type: ignore[arg-type]
        return self._rest != b"" or marks != self._seen

    def _has_grown(self, file: int) -> bool:
        """Whether an empty file has grown; now and then also whether another one has its name."""
        self._looks += 1
        is_seen = self._looks <= _FIRST_LOOKS or self._looks % _LOOKS_AT_NAME == 0
        if is_seen and os.fstat(file).st_nlink == 0:
            return not self.is_empty()
        # A third of the time of fstat(2); its position is the start again.
        return os.lseek(file, 0, os.SEEK_END) > 0 and os.lseek(file, 0, os.SEEK_SET) == 0

    @staticmethod
    def _marks(file: int) -> tuple[int, int, int]:
        """What changes if a file is written to, truncated or replaced."""
        found = os.fstat(file)
        return found.st_size, found.st_mtime_ns, found.st_nlink

    @property
    def unfinished(self) -> bytes:
        """The beginning of a line that had not ended at the last `read`."""
        return self._rest

    def read_bytes(self, *, to_end: bool = False) -> Iterator[bytes]:
        """As `read`, but the bytes as they are: no line is held back, and no line feed added."""
        if self._file is None and not self._open():
            return
        while data := self._read_more():
            yield data
            if not to_end and len(data) == PIECE:
                return

    def lost_bytes(self) -> int:
        """How many bytes that were read are known to be truncated since."""
        # It is looked at once more, at the end of the attempt.
        if self._position is not None and self._file is None:
            self._open()
        if self._file is None:
            return self._lost
        position = os.lseek(self._file, 0, os.SEEK_CUR)
        return self._lost + (position if self._was_truncated(self._file, position) else 0)

    def changed(self) -> int:
        """When the file was last written, in nanoseconds since the epoch; 0 if it does not exist."""
        if self._file is None and not self._open():
            return 0
        return os.fstat(self._file).st_mtime_ns  # type: ignore[arg-type]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def set_aside(self) -> None:
        """Close it; the next read continues."""
        if self._file is not None:
            self._position = os.lseek(self._file, 0, os.SEEK_CUR)
            self.close()

    def _open(self) -> bool:
        try:
            self._file = self._log.open()
        except OSError:
            return False
        if self._position is not None:
            os.lseek(self._file, self._position, os.SEEK_SET)
        elif self._lines is not None:
            os.lseek(self._file, _last_lines(self._file, self._lines), os.SEEK_SET)
        return True

    def _read_more(self) -> bytes:
        data = self._read_piece()
        if data[:1] != b"\0":
            return data
        # A task can make a hole of any size at once.
        from mprun.record.holes import skip_hole
        from mprun.reporters.format import format_size

        skipped = skip_hole(self._file, data)  # type: ignore[arg-type]
        if not skipped:
            return data
        self._last = b""
        return f"\n… {format_size(skipped)} of nothing (a hole in the log) not shown\n".encode()

    def _read_piece(self) -> bytes:
        """What comes next, at most PIECE bytes."""
        file: int = self._file  # type: ignore[assignment]
        position = os.lseek(file, 0, os.SEEK_CUR)
        if self._was_truncated(file, position):
            return self._begin_again(file, position)
        data = os.read(file, PIECE)
        if not data and self._is_replaced(file) and self._reopen():
            os.lseek(self._file, position, os.SEEK_SET)  # type: ignore[arg-type]
            data = os.read(self._file, PIECE)  # type: ignore[arg-type]
        self._last = (self._last + data[-_REMEMBERED:])[-_REMEMBERED:]
        return data

    def _begin_again(self, file: int, position: int) -> bytes:
        """Go to the start of a truncated file; says so the first time, because a task may do it often."""
        note = b"" if self._lost else f"{_TRUNCATED}\n".encode()
        if self._last[-1:] not in (b"", b"\n"):
            note = b"\n" + note
        self._lost += position
        self._last = b""
        os.lseek(file, 0, os.SEEK_SET)
        return note or self._read_piece()

    def _was_truncated(self, file: int, position: int) -> bool:
        """Whether what is in front of the position is not what was read there."""
        if not self._last:
            return os.fstat(file).st_size < position
        return os.pread(file, len(self._last), position - len(self._last)) != self._last

    def _is_replaced(self, file: int) -> bool:
        """Whether there is another file, which begins with what was read: see `launcher.output_pipe`."""
        try:
            return self._log.stat().st_ino != os.fstat(file).st_ino
        except OSError:
            return False

    def _reopen(self) -> bool:
        self.close()
        return self._open()

    @staticmethod
    def _cut(data: bytes) -> tuple[bytes, bytes]:
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) >= PIECE:
            end = whole_characters(data)
            return data[:end] + b"\n", data[end:]
        return data[:end], data[end:]


def _last_lines(file: int, count: int) -> int:
    """Where the last `count` lines of a file begin, or the last GiB, in bytes from its start."""
    end = position = os.fstat(file).st_size
    first = max(0, end - MAX_SEARCHED)
    # The line feed at the end of the file ends its last line.
    wanted = count + (end > 0 and os.pread(file, 1, end - 1) == b"\n")
    if count == 0:
        return end
    while position > first:
        begin = max(first, position - PIECE)
        piece = os.pread(file, position - begin, begin)
        found = piece.count(b"\n")
        if found >= wanted:
            for _ in range(wanted):
                piece = piece[: piece.rindex(b"\n")]
            return begin + len(piece) + 1
        wanted, position = wanted - found, begin
    return first


def whole_characters(data: bytes) -> int:
    """How many bytes these are without the beginning of a character in UTF-8 at their end."""
    end = data[-4:]
    return len(data) - len(end) + codecs.utf_8_decode(end, "replace", False)[1]


class LineSplitter:
    """Splits bytes into lines, and a line that is longer than PIECE into several."""

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The lines that are complete now, without line feeds, each with whether the next continues it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield line, False
        while len(self._rest) > PIECE:
            end = whole_characters(self._rest[:PIECE])
            yield self._rest[:end], True
            self._rest = self._rest[end:]

    def end(self) -> Iterator[tuple[bytes, bool]]:
        """The unfinished last line, if there is one."""
        if self._rest:
            yield self._rest, False
        self._rest = b""

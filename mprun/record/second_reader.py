"""A second process that finds the lines of a large record while the first one takes what it has found before.

To find them takes half of the time in which all tasks are shown. What the second process does not do, because
it could not be forked or was killed, the first one does itself.
"""

from __future__ import annotations

import contextlib
import marshal
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun.linux.procfs import count_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from mprun.record.found import Found

    # Where it begins and ends in the file.
    Piece = tuple[int, int]
    Find = Callable[[str], list[Found]]

# The least that is looked through at a time, in bytes: for larger texts, memory comes from the system and
# goes back again and again. And in how much of what follows a piece has to end, at first and at most.
_PIECE_SIZE = 1 << 18
_CUT_SIZES = (1 << 13, 1 << 20)
# A piece ends before such a line, if there is one: not between the exit and the end of a task.
_STARTED = b'\n{"event":"task_started",'
# With fewer, it is too late once a second process has begun.
_MIN_PIECES = 16
# Of so many pieces the first process looks through one: it also has all else to do.
_PIECES_PER_TURN = 6
_LENGTH_BYTES = 4


def pieces_of(file: BinaryIO) -> list[Piece]:
    """Pieces of whole lines, from the position of a file on to a line that is very long, or near the end."""
    found: list[Piece] = []
    begin = file.tell()
    while end := _end_of_piece(file.fileno(), begin):
        found.append((begin, end))
        begin = end
    return found


def _end_of_piece(number: int, begin: int) -> int:
    at = begin + _PIECE_SIZE
    for size in _CUT_SIZES:
        data = os.pread(number, size, at)
        if cut := data.find(_STARTED) + 1 or data.find(b"\n") + 1:
            return at + cut
    return 0


def find_in(
    file: BinaryIO, pieces: Sequence[Piece], find: Find, *, may_fork: bool
) -> Generator[list[Found] | bytes]:
    """What `find` finds in each of the pieces, in order; the piece itself if it is not UTF-8."""
    number = file.fileno()
    buffer = memoryview(bytearray(max([end - begin for begin, end in pieces], default=0)))

    def find_one(piece: Piece) -> list[Found] | bytes:
        begin, end = piece
        data = buffer[: os.preadv(number, [buffer[: end - begin]], begin)]
        try:
            return find(str(data, "utf-8"))
        except UnicodeDecodeError:
            return bytes(data)

    second = None
    if may_fork and len(pieces) >= _MIN_PIECES and count_cores() > 1:
        second = _fork(find_one, [piece for at, piece in enumerate(pieces) if at % _PIECES_PER_TURN])
    try:
        for at, piece in enumerate(pieces):
            found = second.next() if second is not None and at % _PIECES_PER_TURN else None
            yield find_one(piece) if found is None else found
    finally:
        if second is not None:
            second.end()


def _fork(find_one: Callable[[Piece], Any], pieces: Iterable[Piece]) -> _Second | None:
    from mprun.linux.splice import enlarge

    try:
        ours, theirs = os.pipe()
    except OSError:
        return None
    # So far it may be ahead.
    enlarge(ours)
    try:
        pid = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        return None
    if pid == 0:
        try:
            os.close(ours)
            _send(theirs, map(find_one, pieces))
        finally:
            # Whatever has happened: the first process notices the end of the pipe.
            os._exit(0)
    os.close(theirs)
    return _Second(pid, ours)


def _send(pipe: int, found: Iterable[Any]) -> None:
    for one in found:
        data = marshal.dumps(one)
        data = len(data).to_bytes(_LENGTH_BYTES, "little") + data
        while data:
            data = data[os.write(pipe, data) :]


class _Second:
    """The second process, as the first one sees it."""

    def __init__(self, pid: int, pipe: int) -> None:
        self._pid = pid
        self._pipe = pipe
        self._is_there = True

    def next(self) -> list[Found] | bytes | None:
        """What it has found in its next piece; None if it does not say so any more."""
        if self._is_there:
            size = int.from_bytes(self._read(_LENGTH_BYTES), "little")
            data = self._read(size)
            if size and len(data) == size:
                return marshal.loads(data)  # type: ignore[no-any-return]  # noqa: S302  our own
            self._is_there = False
        return None

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := os.read(self._pipe, size - len(data))):
            data += more
        return data

    def end(self) -> None:
        """Wait for it; it ends once it cannot write any more."""
        os.close(self._pipe)
        # The process that has started mprun may have had it ignore its children.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

"""Standard output and error: whether they are a terminal, its colours and width, and tasks' output."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.reporters.door import on_github, wants_colour
from mprun.reporters.format import cut_inside, display_width, pad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

    from mprun.reporters.outlet import Outlet
    from mprun.reporters.tail import Tail
    from mprun.reporters.unfinished_line import UnfinishedLine

# The name in front of what the main process prints.
MAIN = "main"
# A name in front of a line takes at most this many columns, and at most half of a terminal.
MAX_PREFIX = 40
# Foreground colours of the names, in turn (ECMA-48 SGR); none is red, which means failed.
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream writes to; None if it does not write to a terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def can_be_drawn_on(stream: TextIO, progress: str) -> bool:
    """Whether rows can be drawn again and again on what a stream writes to, if `progress` asks for that.

    Something else may write to the same terminal if standard output is a pipe: `less` or `tee`.
    """
    if progress not in ("auto", "live") or not stream.isatty() or outlet_of(stream) is None:
        return False
    if os.environ.get("TERM", "dumb") == "dumb":
        return False
    return progress == "live" or not (os.environ.get("CI") or _is_pipe(sys.stdout))


def silence(stream: object) -> None:
    """Redirect a stream whose reader is gone to /dev/null, so that closing it raises nothing."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        # This process ends without closing it.
        return
    os.dup2(null, stream.fileno())  # type: ignore[attr-defined]
    os.close(null)


def outlet_of(stream: object) -> Outlet | None:
    """The outlet that a stream writes to; None if writing to it waits for its reader."""
    return getattr(getattr(stream, "buffer", None), "outlet", None)


class Output:
    """Writes the output of tasks to stdout, in lines, each with the task's name in front.

    During a run stdout has an outlet: what its reader does not take at once is written later, and the
    logs are read only then.

    A terminal gets the colours of tasks and no other control character; a pipe and a file get the
    bytes as they are. `on_error` is called once if stdout cannot be written, but not if its reader
    is gone. While `whole_lines` says so, a line that has not ended is not shown.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        prefix: bool = True,
        whole_lines: Callable[[], bool] | None = None,
        on_error: Callable[[OSError], object] | None = None,
    ) -> None:
        self._on_error = on_error
        self._outlet = outlet_of(sys.stdout)
        self._terminal = sys.stdout.isatty()
        self._on_github = on_github()
        self._colour = wants_colour(sys.stdout)
        self._prefix = prefix
        width = terminal_width(sys.stdout)
        self._max_width = MAX_PREFIX if width is None else min(MAX_PREFIX, width // 2)
        self._width = 0
        for name in (MAIN, *names):
            self._widen(visible(name))
        self._colours: dict[str, int] = {}
        # By task: its last line, if that has not ended; and the one at whose end the cursor is.
        self._unfinished: dict[str, UnfinishedLine] = {}
        self._open: UnfinishedLine | None = None
        self._whole_lines = whole_lines
        self._shows_unfinished: bool | None = None
        self._inside_line = False
        # Whether writing has failed, and nothing is written any more.
        self.broken = False
        # How many pieces have been written.
        self.written = 0

    @property
    def exact(self) -> bool:
        """Whether output without a name in front is written byte for byte."""
        return not self._terminal

    @property
    def is_behind(self) -> bool:
        """Whether something waits for the reader of stdout."""
        return self._outlet is not None and self._outlet.is_behind

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write pieces of whole lines of one task."""
        self._show(self._pieces(name, pieces))

    def write_rest(self, name: str, tail: Tail) -> None:
        """Write what was not written of a log that is complete, and close it."""
        if tail.is_empty():
            tail.close()
        else:
            self._show(self._rest(name, tail))

    def write_new(self, name: str, tail: Tail, clock: Callable[[], float]) -> None:
        """Write what was added to a log; an unfinished line too if it has waited long enough.

        `clock` gives seconds. An unfinished line is written on a terminal and in a pipe. In a file,
        where no one watches, and in GitHub's log lines are whole.
        """
        self._show(self._new(name, tail, clock))

    def _show(self, steps: Iterator[object]) -> None:
        """Do these steps, each of which writes a piece, in order with what waits for the reader."""
        if self._outlet is not None:
            self._outlet.show(steps)
            return
        for _ in steps:
            pass

    def _pieces(self, name: str, pieces: Iterable[bytes]) -> Iterator[None]:
        for piece in () if self.broken else pieces:
            rest = self._continued(name, piece) if self._unfinished else piece
            if rest:
                self.end_line()
                shown = self._shown(rest)
                self._write(self._with_prefix(name, shown) if self._prefix else shown)
            yield

    def _rest(self, name: str, tail: Tail) -> Iterator[None]:
        yield from self._pieces(name, tail.read(to_end=True))
        tail.close()

    def _new(self, name: str, tail: Tail, clock: Callable[[], float]) -> Iterator[None]:
        yield from self._pieces(name, tail.read())
        if tail.unfinished and not self.broken:
            self._write_unfinished(name, tail.unfinished, clock())

    def _write_unfinished(self, name: str, line: bytes, now: float) -> None:
        """Write the last line of a task, which has not ended, if it is due; `line` is all of it so far."""
        if self._shows_unfinished is None:
            self._shows_unfinished = not self._on_github and (self._terminal or not _is_file(sys.stdout))
        if not self._shows_unfinished or (self._whole_lines is not None and self._whole_lines()):
            return
        from mprun.reporters.unfinished_line import UnfinishedLine, without_half

        line = without_half(line)
        unfinished = self._unfinished.get(name)
        if unfinished is None:
            width = (terminal_width(sys.stdout) or 80) if self._terminal else None
            unfinished = self._unfinished[name] = UnfinishedLine(now, width)
        if unfinished.is_due(line, now, is_open=unfinished is self._open):
            self._add(name, unfinished, line, now)

    def write_exactly(self, pieces: Iterable[bytes]) -> None:
        """Write bytes as they are; they may end inside a line."""
        for piece in () if self.broken else pieces:
            self._write(piece)
            self._inside_line = piece[-1:] != b"\n" if piece else self._inside_line

    def end_line_before_stderr(self) -> None:
        """End a line that was written in part, if stderr is written to the same terminal, pipe or file."""
        if (self._inside_line or self.is_behind) and _is_same_file(sys.stdout, sys.stderr):
            self._show(self._line_end())

    def end_line(self) -> None:
        """End a line that was written in part."""
        if self._inside_line:
            self._write(b"\n")
            self._inside_line, self._open = False, None

    def _line_end(self) -> Iterator[None]:
        self.end_line()
        yield

    def _continued(self, name: str, piece: bytes) -> bytes:
        """Write the end of a line of this task that was shown in part; the lines after it."""
        unfinished = self._unfinished.pop(name, None)
        if unfinished is None or not unfinished.is_shown:
            return piece
        end = piece.index(b"\n")
        if unfinished is self._open or unfinished.has_more(piece[:end]):
            self._add(name, unfinished, piece[:end], 0.0)
            self.end_line()
        return piece[end + 1 :]

    def _add(self, name: str, unfinished: UnfinishedLine, line: bytes, now: float) -> None:
        """Write what was added to an unfinished line."""
        is_open = unfinished is self._open
        if not is_open:
            self.end_line()
        prefix = self._prefix_of(name) if self._prefix else b""
        self._write(unfinished.addition(line, prefix, now, is_open=is_open, colour=self._colour))
        self._inside_line, self._open = True, unfinished

    def _shown(self, piece: bytes) -> bytes:
        """Whole lines as this stdout shows them."""
        if self._on_github:
            # Behind a name they are harmless, until a script cuts the names off.
            from mprun.reporters.ci_guard import escape

            piece = escape(piece)
        if self._terminal:
            if b"\x1b" in piece or b"\r" in piece:
                from mprun.reporters.task_text import terminal_lines

                return terminal_lines(piece, colour=self._colour)
            return visible(piece.decode("utf-8", "backslashreplace"), multiline=True).encode()
        if b"\x1b[" in piece and (self._colour or self._on_github):
            from mprun.reporters.task_text import with_resets

            return with_resets(piece)
        return piece

    def _with_prefix(self, name: str, piece: bytes) -> bytes:
        prefix = self._prefix_of(name)
        return prefix + piece[:-1].replace(b"\n", b"\n" + prefix) + b"\n"

    def _prefix_of(self, name: str) -> bytes:
        shown = visible(name)
        # A `foreach` over a task's result adds names during the run.
        self._widen(shown)
        shown = pad(cut_inside(shown, self._width), self._width)
        if not self._colour:
            return f"{shown} | ".encode("utf-8", "backslashreplace")
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{shown} |\x1b[0m ".encode("utf-8", "backslashreplace")

    def _widen(self, name: str) -> None:
        self._width = max(self._width, min(self._max_width, display_width(name)))

    def notice_error(self) -> None:
        """Notice that what was written last could not be, which else the next write would tell."""
        self._write(b"")

    def _write(self, data: bytes) -> None:
        if self.broken:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            self.written += 1
        except (OSError, ValueError) as error:
            # The reader is gone (`mprun … | head`), or the disk is full: the run continues, with
            # its logs and its exit code.
            self.broken = True
            silence(sys.stdout)
            if self._on_error and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                self._on_error(error)


def _is_file(stream: TextIO) -> bool:
    """Whether a stream writes to a file on a disk."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return True


def _is_pipe(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _is_same_file(one: TextIO, other: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except (OSError, ValueError):
        # One of them is closed, or is not a file.
        return False

"""The terminal or pipe that a command writes to: its colours, its width, and tasks' output on stdout."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.reporters import github
from mprun.reporters.format import display_width, pad, truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

# The name in front of what the main process prints.
MAIN = "main"
# A name in front of a line is cut to this many columns, and to half of a terminal.
PREFIX_LIMIT = 40
# Foreground colours of the names, in turn (ECMA-48 SGR); none is red, which means failed.
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def wants_colour(stream: object) -> bool:
    """Whether to colour what goes to a stream: NO_COLOR, FORCE_COLOR, else a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream goes to; None where it goes elsewhere."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


class Output:
    """Tasks' output on stdout, in whole lines with the task's name in front.

    `lost` is called once where it cannot be written, unless nobody reads it.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        prefix: bool = True,
        lost: Callable[[OSError], object] | None = None,
    ) -> None:
        self._lost = lost
        self._inert = github.is_read()
        self._terminal = sys.stdout.isatty()
        self._colour = wants_colour(sys.stdout)
        self._prefix = prefix
        width = terminal_width(sys.stdout)
        self._widest = PREFIX_LIMIT if width is None else min(PREFIX_LIMIT, width // 2)
        self._width = 0
        for name in (MAIN, *names):
            self._widen(visible(name))
        self._colours: dict[str, int] = {}
        self._inside_line = False
        # Whether nothing is written any more.
        self.broken = False
        # How many pieces were written by now.
        self.written = 0

    @property
    def exact(self) -> bool:
        """Whether what is written without a name in front are the bytes as they are."""
        return not self._terminal and not self._inert

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write pieces of whole lines of one task."""
        for piece in () if self.broken else pieces:
            if self._inert:
                piece = github.inert(piece)
            if self._terminal:
                piece = visible(piece.decode("utf-8", "backslashreplace"), multiline=True).encode()
            self._write(self._with_prefix(name, piece) if self._prefix else piece)

    def write_exactly(self, pieces: Iterable[bytes]) -> None:
        """Write bytes as they are, which may end inside of a line."""
        for piece in () if self.broken else pieces:
            self._write(piece)
            self._inside_line = piece[-1:] != b"\n" if piece else self._inside_line

    def end_line(self) -> None:
        """End a line that was written in part."""
        if self._inside_line:
            self._write(b"\n")
            self._inside_line = False

    def _with_prefix(self, name: str, piece: bytes) -> bytes:
        prefix = self._prefix_of(name)
        return prefix + piece[:-1].replace(b"\n", b"\n" + prefix) + b"\n"

    def _prefix_of(self, name: str) -> bytes:
        shown = visible(name)
        # A list that a task returns makes tasks that nobody knew of.
        self._widen(shown)
        shown = pad(truncate(shown, self._width, ellipsis=""), self._width)
        if not self._colour:
            return f"{shown} | ".encode("utf-8", "backslashreplace")
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{shown} |\x1b[0m ".encode("utf-8", "backslashreplace")

    def _widen(self, name: str) -> None:
        self._width = max(self._width, min(self._widest, display_width(name)))

    def _write(self, data: bytes) -> None:
        if self.broken:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            self.written += 1
        except (OSError, ValueError) as error:
            # Nobody reads any more (`mprun … | head`), or the disk under it is full: the logs
            # and the exit code go on.
            self.broken = True
            silence(sys.stdout)
            if self._lost and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                self._lost(error)


def silence(stream: object) -> None:
    """Let a stream whose reader is gone write to nowhere, so that closing it raises nothing."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())  # type: ignore[attr-defined]
    os.close(null)

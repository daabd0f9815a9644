"""The rows at the bottom of a terminal that are drawn again and again, below what is written for good.

No alternate screen, no hidden cursor, no mode of the terminal that is changed: if this process is killed, the
rows stay, and the cursor is below them. What is written meanwhile is held until the rows are drawn next, so
that the terminal gets all in one write, and the rows do not flicker.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.reporters.format import display_width
from mprun.reporters.task_text import without_colours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.reporters.outlet import OutletStream

# What is held at most, in bytes.
MAX_HELD = 32 * 1024


class Region:
    """The rows of one terminal; `stream` writes to it, and `size` returns its columns and rows.

    `reflows` says whether the terminal wraps old rows when it becomes narrower, so that they become more.
    """

    def __init__(self, stream: OutletStream, size: Callable[[], tuple[int, int]], *, reflows: bool) -> None:
        self.stream = stream
        self._outlet = stream.outlet
        self._size = size
        self._reflows = reflows
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._rows: list[str] = []
        self._drawn_for = (0, 0)
        # Line feeds below the rows that someone has typed since they were drawn.
        self.typed_lines = 0

    @property
    def is_holding(self) -> bool:
        """Whether something waits to be written with the next frame."""
        return bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether no more is to be held."""
        return self._held_bytes >= MAX_HELD

    def open(self) -> None:
        """Hold from now on what is written to the terminal."""
        self._outlet.footer = self

    def close(self) -> None:
        """Remove the rows, write what is held, and hold nothing more."""
        if self._outlet.footer is self:
            self._outlet.footer = None
            if self._rows or self._held:
                self._outlet.insert(self.stream, self._release())

    def hold(self, data: bytes) -> None:
        """Hold bytes: whole lines."""
        self._held.append(data)
        self._held_bytes += len(data)

    def take_held(self) -> bytes:
        """All that is held, and what draws the rows below it."""
        rows = self._rows if self._size() == self._drawn_for else []
        data = self._release() + _drawn(rows)
        self._rows = rows
        return data

    def _release(self) -> bytes:
        """What removes the rows from the terminal, and all that is held."""
        data = (self._to_top() + b"\x1b[J" if self._rows else b"") + b"".join(self._held)
        self._held.clear()
        self._rows, self._held_bytes, self.typed_lines = [], 0, 0
        return data

    def forget(self) -> None:
        """Take the rows for a part of what is above: someone else has written below them."""
        self._rows, self.typed_lines = [], 0

    def draw(self, rows: Sequence[str]) -> bool:
        """Draw the rows in place of those before, below what was held; whether anything was written.

        Nothing is if nothing has changed, or if the terminal has not taken the rows before.
        """
        if not self._outlet.takes_insert:
            return False
        size = self._size()
        is_moved = bool(self._held) or size != self._drawn_for or bool(self.typed_lines) or not self._rows
        if not is_moved and list(rows) == self._rows:
            return False
        data = (self._release() if is_moved else self._to_top()) + _drawn(rows)
        self._outlet.insert(self.stream, data if is_moved else data + b"\x1b[J")
        self._rows, self._drawn_for = list(rows), size
        return True

    def _to_top(self) -> bytes:
        """What moves the cursor to the first of the rows that are on the terminal."""
        columns = self._size()[0]
        if self._reflows and columns < self._drawn_for[0]:
            lines = sum(max(1, -(-display_width(without_colours(row)) // columns)) for row in self._rows)
        else:
            lines = len(self._rows)
        lines += self.typed_lines
        return b"\r\x1b[%dA" % lines


def _drawn(rows: Sequence[str]) -> bytes:
    return "".join([f"{row}\x1b[K\n" for row in rows]).encode("utf-8", "backslashreplace")


def terminal_reflows(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a terminal wraps its old rows anew when it becomes narrower, as most do.

    xterm, the console of Linux and GNU screen cut them.
    """
    if environ.get("TMUX"):
        return True
    kind = environ.get("TERM", "")
    return not (environ.get("XTERM_VERSION") or kind.startswith(("screen", "linux", "vt", "ansi", "rxvt")))

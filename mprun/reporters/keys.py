"""The keys of the live view: lines that are typed on the terminal while a run is shown.

The terminal stays as it is, with its echo and its editing of lines, so there is nothing to restore after a
`kill -9`. Enter alone is one key, `t` and Enter the other.
"""

from __future__ import annotations

import os
import select

from mprun.linux.foreground import echoes_lines, read_typed

_STDIN = 0
_MAX_BYTES = 4096


class Keys:
    """Reads standard input, if that is the terminal `shown`, a descriptor, too."""

    def __init__(self, shown: int) -> None:
        self._is_open = os.isatty(_STDIN) and os.path.samestat(os.fstat(_STDIN), os.fstat(shown))
        self._poll = select.poll()
        self._poll.register(_STDIN, select.POLLIN)
        # How many line feeds the terminal has shown since this was last set to 0.
        self.echoed_lines = 0

    def read(self) -> list[str]:
        """The lines that were typed since the last call; only in the foreground, and without waiting."""
        typed = b""
        # All of them before the next frame, which begins above what they have left on the terminal; a read
        # returns one.
        while len(typed) < _MAX_BYTES and (data := self._read_line()):
            typed += data
        if typed and echoes_lines(_STDIN):
            self.echoed_lines += typed.count(b"\n")
        return [line.strip().decode("utf-8", "replace") for line in typed.splitlines()]

    def _read_line(self) -> bytes:
        ready = self._poll.poll(0) if self._is_open else ()
        if not ready:
            return b""
        if ready[0][1] & ~select.POLLIN:
            # The terminal was closed.
            self._is_open = False
            return b""
        return read_typed(_STDIN, _MAX_BYTES)

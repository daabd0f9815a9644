"""Neutralises what GitHub's runner would read as a workflow command: it reads all that mprun prints.

A job file, its tasks and their names, values and errors can all contain text of others.
`mprun.reporters.door` puts the guard in front of both streams.
"""

from __future__ import annotations

import io
import re
from typing import IO

# As the runner reads it (its ActionCommand.cs): `::name::` at the beginning of a line, after white
# space, and `##[name]` anywhere. Its comparison ignores characters without a width, so anything but
# visible ASCII may come first, colours too, and only a space separates reliably. In .NET a carriage
# return ends a line too.
_BLANK = rb"(?:[^!-~\r\n]|\[[0-9;:]*m)*"
_AT_BEGINNING = rb"((?:\A|[\r\n])" + _BLANK + rb":)(?=:)"
_ANYWHERE = b"##["


def escape(lines: bytes, *, is_json: bool = False) -> bytes:
    r"""The lines without a command: `: :error::`, `## [error]`; in a string of JSON, `##\u005berror]`."""
    if b"::" in lines:
        # Compiled here: most output has no need of it.
        lines = re.sub(_AT_BEGINNING, rb"\1 ", lines)
    return lines.replace(_ANYWHERE, b"##\\u005b" if is_json else b"## [") if _ANYWHERE in lines else lines


class Guard(io.BufferedIOBase):
    """Writes to another stream of bytes, without commands, also if they come in pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # The end of what was written, as far as a command could begin in it.
        self._context = b""
        self.is_json = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes; how many of `data`, which is always all of them."""
        begin = len(self._context)
        written = self._context + bytes(data)
        self._stream.write(escape(written, is_json=self.is_json)[begin:])
        line = written[max(written.rfind(b"\n"), written.rfind(b"\r")) + 1 :]
        # After something visible, only `##` is a beginning.
        blank = re.fullmatch(_BLANK + b":?", line)
        self._context = line if blank else b"!" + line[-2:]
        return len(data)

    def redirect(self, stream: IO[bytes]) -> None:
        """Write to this stream from now on."""
        self._stream = stream

    @property
    def outlet(self) -> object:
        """The outlet that the other stream writes to, None if it does not: see `mprun.reporters.outlet`."""
        return getattr(self._stream, "outlet", None)

    def flush(self) -> None:
        """Flush the other stream."""
        self._stream.flush()

    def writable(self) -> bool:
        """Whether it can be written."""
        return True

    def fileno(self) -> int:
        """The descriptor of the other stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the other stream is a terminal."""
        return self._stream.isatty()

"""Neutralises what a CI service would obey: its runner reads all that mprun prints.

For GitHub that is a workflow command, for GitLab the beginning or the end of a section. A job file, its tasks
and their names, values and errors can all contain text of others. `mprun.reporters.door` puts the guard in
front of both streams; what mprun itself has to say to the service passes by `Guard.write_command`.
"""

from __future__ import annotations

import io
import re
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

# As the runner reads it (its ActionCommand.cs): `::name::` at the beginning of a line, after white
# space, and `##[name]` anywhere. Its comparison ignores characters without a width, so anything but
# visible ASCII may come first, colours too, and only a space separates reliably. In .NET a carriage
# return ends a line too.
_BLANK = rb"(?:[^!-~\r\n]|\[[0-9;:]*m)*"
_AT_BEGINNING = rb"((?:\A|[\r\n])" + _BLANK + rb":)(?=:)"
_ANYWHERE = b"##["
# GitLab finds them anywhere in a line.
_SECTION = rb"(section_(?:start|end))(?=:)"
_SECTIONS = (b"section_start:", b"section_end:")

GITHUB, GITLAB = "github", "gitlab"


def escape(lines: bytes, *, is_json: bool = False) -> bytes:
    r"""The lines without a command: `: :error::`, `## [error]`; in a string of JSON, `##\u005berror]`."""
    if b"::" in lines:
        # Compiled here: most output has no need of it.
        lines = re.sub(_AT_BEGINNING, rb"\1 ", lines)
    return lines.replace(_ANYWHERE, b"##\\u005b" if is_json else b"## [") if _ANYWHERE in lines else lines


def escape_sections(text: bytes) -> bytes:
    """The text without the beginning or the end of a section of GitLab: `section_start :`."""
    return re.sub(_SECTION, rb"\1 ", text) if b"section_" in text else text


def _beginning_at_end(data: bytes) -> bytes:
    """The end of some bytes, if the rest of a section's beginning or end could follow."""
    for size in range(min(len(data), max(map(len, _SECTIONS)) - 1), 0, -1):
        end = data[-size:]
        if any(section.startswith(end) and section != end for section in _SECTIONS):
            return end
    return b""


class Guard(io.BufferedIOBase):
    """Writes to another stream of bytes, without commands, also if they come in pieces.

    `services` are those whose commands are meant.
    """

    def __init__(self, stream: IO[bytes], services: Collection[str] = (GITHUB,)) -> None:
        self._stream = stream
        self._services = set(services)
        # The end of what was written, as far as a section could begin in it.
        self._tail = b""
        # The end of what was written, as far as a command could begin in it.
        self._context = b""
        self.is_json = False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write bytes; how many of `data`, which is always all of them."""
        begin = len(self._context)
        written = self._context + bytes(data)
        is_github = GITHUB in self._services
        self._write(escape(written, is_json=self.is_json)[begin:] if is_github else written[begin:])
        line = written[max(written.rfind(b"\n"), written.rfind(b"\r")) + 1 :]
        # After something visible, only `##` is a beginning.
        blank = re.fullmatch(_BLANK + b":?", line)
        self._context = line if blank else b"!" + line[-2:]
        return len(data)

    def _write(self, data: bytes) -> None:
        # In JSON, the carriage return that has to follow is escaped.
        if GITLAB in self._services and not self.is_json:
            begin = len(self._tail)
            data = self._tail + data
            self._stream.write(escape_sections(data)[begin:])
            self._tail = _beginning_at_end(data)
        else:
            self._stream.write(data)

    def add_service(self, service: str) -> None:
        """Neutralise the commands of this service, too."""
        self._services.add(service)

    def write_command(self, command: str) -> None:
        """Write a command of mprun itself, which has to be escaped as the service demands, as a line."""
        # After the beginning of a line, it would not be one.
        begin = "\n" if self._context else ""
        self._stream.write(f"{begin}{command}\n".encode("utf-8", "backslashreplace"))
        self._context = self._tail = b""

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

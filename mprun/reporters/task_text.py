"""What a terminal shows of a task's output: its colours, the last state of a line, and no other control."""

from __future__ import annotations

import re

from mprun.diagnostics import visible
from mprun.reporters.door import with_colours

# Select Graphic Rendition (ECMA-48, 8.3.117): colours, bold and the like.
_SGR = re.compile("\x1b\\[[0-9;:]*m")
_RESET = "\x1b[0m"
_RESETS = ("\x1b[m", _RESET)


def terminal_lines(piece: bytes, *, colour: bool) -> bytes:
    """Whole lines as a terminal shows them, in UTF-8; without `colour`, colours are made visible, too."""
    lines = piece.decode("utf-8", "backslashreplace").split("\n")
    shown = [terminal_line(line, colour=colour) for line in lines]
    return "\n".join([line + reset_after(line) for line in shown]).encode("utf-8", "backslashreplace")


def terminal_line(line: str, *, colour: bool) -> str:
    r"""One line, without its line feed: after a `\r` only what follows it, and colours reset at the end."""
    if "\r" in line:
        line = _last_state(line)
    if "\x1b" not in line or not colour:
        return visible(line, multiline=True)
    return with_colours(line)


def with_resets(piece: bytes) -> bytes:
    """Whole lines as they are, but with colours reset at the end of each line."""
    lines = piece.decode("utf-8", "surrogateescape").split("\n")
    return "\n".join([line + reset_after(line) for line in lines]).encode("utf-8", "surrogateescape")


def reset_after(text: str) -> str:
    """What resets the colours that a text has set; empty if it has reset them, or has set none."""
    sequences = _SGR.findall(text) if "\x1b[" in text else []
    return _RESET if sequences and sequences[-1] not in _RESETS else ""


def colours_of(text: str) -> str:
    """The sequences of a text that set or reset colours, without what they apply to."""
    return "".join(_SGR.findall(text))


def without_colours(text: str) -> str:
    """The text alone."""
    return _SGR.sub("", text)


def _last_state(line: str) -> str:
    """What is on the terminal after the last carriage return, or before it if nothing follows."""
    states = line.split("\r")
    return next((state for state in reversed(states) if without_colours(state)), "")

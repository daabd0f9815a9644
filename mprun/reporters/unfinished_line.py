"""A line of a task's output that is shown before it has ended, such as a prompt, and then continued."""

from __future__ import annotations

from mprun.reporters.format import display_width
from mprun.reporters.tail import whole_characters
from mprun.reporters.task_text import colours_of, reset_after, terminal_line, without_colours

# Seconds for which a line may be unfinished before its beginning is shown.
DELAY = 0.2
# If something else was shown in the meantime, what was added is shown after so many seconds: two tasks
# that print dots would else begin a new line with every dot.
DELAY_AFTER_OTHERS = 2.0
# So far from the end of a line a sequence is searched for that has not ended, in bytes.
_MAX_SEQUENCE = 32


class UnfinishedLine:
    """How much of an unfinished line has been shown. `width` is the terminal's, None for a pipe."""

    def __init__(self, now: float, width: int | None) -> None:
        self._width = width
        self._seen = now
        self._length = 0
        self._text = ""

    @property
    def is_shown(self) -> bool:
        """Whether any of it has been shown."""
        return self._length > 0

    def has_more(self, line: bytes) -> bool:
        """Whether something was added to it."""
        return len(line) > self._length

    def is_due(self, line: bytes, now: float, *, is_open: bool) -> bool:
        """Whether to show what was added to it; `is_open` says that the cursor is at its end."""
        if not self.has_more(line):
            return False
        if is_open:
            return True
        return now - self._seen >= (DELAY_AFTER_OTHERS if self.is_shown else DELAY)

    def addition(self, line: bytes, prefix: bytes, now: float, *, is_open: bool, colour: bool) -> bytes:
        """The bytes that show what was added to it, with the prefix if that begins a line."""
        shown_before, added = line[: self._length], line[self._length :]
        self._length, self._seen = len(line), now
        if self._width is None:
            added = _with_colours(shown_before, added) if colour and b"\x1b[" in line else added
            return added if is_open else prefix + added
        before, text = self._text, line.decode("utf-8", "backslashreplace")
        self._text = terminal_line(text, colour=colour)
        shown = self._on_terminal(before, prefix.decode("utf-8", "backslashreplace"), is_open)
        return (shown + reset_after(self._text)).encode("utf-8", "backslashreplace")

    def _on_terminal(self, before: str, prefix: str, is_open: bool) -> str:
        """What a terminal gets: `before` is what it shows of the line."""
        if self._text.startswith(before):
            added = colours_of(before) + self._text[len(before) :]
            return added if is_open else prefix + added
        if not is_open:
            return prefix + self._text
        # Its state has changed: it is written over, if it has not filled a row of the terminal.
        old, new = (display_width(without_colours(prefix + text)) for text in (before, self._text))
        if old >= (self._width or 0):
            return f"\n{prefix}{self._text}"
        rest = max(0, old - new)
        # The cursor goes back to the end of the text: it may be continued.
        return f"\r{prefix}{self._text}" + " " * rest + "\b" * rest


def without_half(line: bytes) -> bytes:
    """An unfinished line without the beginning of a character or a sequence at its end: the rest follows."""
    end = whole_characters(line)
    escape = line.rfind(b"\x1b", end - _MAX_SEQUENCE if end > _MAX_SEQUENCE else 0, end)
    # ECMA-48, 5.4: parameters, until a letter says what it is.
    if escape >= 0 and not line[escape + 1 : end].lstrip(b"[").strip(b"0123456789;:"):
        end = escape
    return line[:end]


def _with_colours(before: bytes, added: bytes) -> bytes:
    """What was added to a line, in the colours that were set before it, which are reset after it."""
    first, text = (part.decode("utf-8", "surrogateescape") for part in (before, before + added))
    colours = colours_of(first) if reset_after(first) else ""
    return colours.encode() + added + reset_after(text).encode()

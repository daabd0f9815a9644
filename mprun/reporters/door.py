"""The one door to stdout and stderr: it knows where they go, and lets through what cannot act there.

`open_door` puts it in front of both. All text that mprun prints passes it, whatever a view has forgotten:
the views, `--json`, `--events -`, errors and warnings, click's texts, the tables of rich. A secret becomes
`***`, and a character that a terminal obeys, or that no one sees, is written out; in JSON by JSON's own
escapes, so that the value stays the same. Output of tasks is bytes, which `mprun.reporters.terminal` writes
to the door's `buffer`. If the runner of a CI service reads the streams, all bytes pass
`mprun.reporters.ci_guard` last.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

from mprun.diagnostics import is_visible, redact, visible

# The values of `--ci`; `auto` is the one that runs mprun.
CI_SERVICES = ("auto", "github", "gitlab", "none")


def ci_service(choice: str = "auto") -> str:
    """The CI service whose runner reads stdout and stderr, and obeys commands in them; empty for none.

    With a value of `--ci`, the one that is to be told about a run.
    """
    if choice != "auto":
        return choice if choice != "none" else ""
    for variable, service in (("GITHUB_ACTIONS", "github"), ("GITLAB_CI", "gitlab")):
        if os.environ.get(variable):
            return service
    return ""


def on_github() -> bool:
    """Whether GitHub's runner reads stdout and stderr."""
    return ci_service() == "github"


def wants_colour(stream: object) -> bool:
    """Whether to colour what is written to a stream: by NO_COLOR, FORCE_COLOR, else if it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


class Door(io.TextIOWrapper):
    """A stream of text that passes on only what cannot act on its reader."""

    is_json = False
    # What it writes to would else be closed with the stream that had it before.
    before: IO[str] | None = None

    def write(self, text: str) -> int:
        """Write text; how many characters of `text`, which is always all of them."""
        if self.is_json:
            shown = json_text(text)
        else:
            shown = redact(text)
            if not shown.isascii() or not shown.replace("\n", "").isprintable():
                shown = with_colours(shown) if wants_colour(self) else visible(shown, multiline=True)
        super().write(shown)
        return len(text)


def open_door() -> None:
    """Put the door in front of stdout and stderr."""
    service = ci_service()
    sys.stdout, sys.stderr = put_door(sys.stdout, service), put_door(sys.stderr, service)


def put_door(stream: IO[str], service: str) -> IO[str]:
    """A door in front of a stream, and behind it the guard if a CI service reads it."""
    buffer: Any = getattr(stream, "buffer", None)
    if buffer is None:
        return stream
    stream.flush()
    # UTF-8 whatever the locale, like a task's output: a name that cannot be encoded must not end a run.
    lines = bool(getattr(stream, "line_buffering", False))
    if service:
        # Compiled patterns, for which only the runner of a CI service has a use.
        from mprun.reporters.ci_guard import Guard

        buffer = Guard(buffer, (service,))
    door = Door(buffer, "utf-8", "backslashreplace", line_buffering=lines)
    door.before = stream
    return door


def expect_json(stream: object, expected: bool = True) -> None:
    """What is written to a stream from now on is JSON, whose values stay the same."""
    if isinstance(stream, Door):
        stream.is_json = expected
        if hasattr(stream.buffer, "add_service"):
            stream.buffer.is_json = expected  # type: ignore[attr-defined]  # the guard


def write_json(stream: IO[str], line: str) -> None:
    """Write a line of JSON, without secrets, to a stream that has other text, too. Raises OSError."""
    before = getattr(stream, "is_json", False)
    stream.flush()
    expect_json(stream)
    try:
        stream.write(line + "\n")
        stream.flush()
    finally:
        expect_json(stream, before)


def json_text(text: str) -> str:
    r"""JSON of the same value in which every character is visible: `\u202e`."""
    if text.isascii() and "\x7f" not in text:
        # The encoder has written out the controls of ASCII, except DEL.
        return text
    return "".join([char if char == "\n" or is_visible(char) else _escaped(char) for char in text])


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    # JSON has UTF-16's two halves of it.
    return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def with_colours(text: str) -> str:
    """The text with nothing that acts on a terminal but colours, bold and the like (ECMA-48, 8.3.117)."""
    first, *others = text.split("\x1b[")
    shown = [visible(first, multiline=True)]
    for other in others:
        codes, end, rest = other.partition("m")
        if end and not codes.strip("0123456789;:"):
            shown.append(f"\x1b[{codes}m{visible(rest, multiline=True)}")
        else:
            shown.append(visible(f"\x1b[{other}", multiline=True))
    return "".join(shown)

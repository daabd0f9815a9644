"""Errors, warnings and other messages of commands, on stderr."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from mprun.diagnostics import redact, visible
from mprun.errors import JobFileError, MprunError
from mprun.reporters import door
from mprun.reporters.door import wants_colour
from mprun.reporters.terminal import MAIN, Output, silence

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from mprun.diagnostics import Diagnostic

_LINES_PER_WRITE = 100
# Whether a program reads the output of the command, and so its errors, too.
_as_json = False


def expect_json() -> None:
    """Print JSON from now on: stdout has nothing else, and every message is an object on stderr."""
    global _as_json
    _as_json = True
    door.expect_json(sys.stdout)


def expect_json_errors() -> None:
    """Report an error as JSON if the command line has `--json`, which may not have been parsed yet."""
    words = sys.argv[1:]
    if "--json" in words[: words.index("--") if "--" in words else None]:
        expect_json()


def explain(error: MprunError) -> None:
    """Print an error, with each diagnostic at its place; before it, what the imported modules printed."""
    if _as_json:
        from mprun.cli import json_messages

        for value in json_messages.of_error(error):
            json_messages.write(value)
        return
    if error.output:
        Output([]).write(MAIN, [error.output.rstrip(b"\n") + b"\n"])
    if isinstance(error, JobFileError):
        from mprun.diagnostic_text import render

        write(render(error.diagnostics, wants_colour(sys.stderr)))
    else:
        say("error", str(error))


def warn(text: str, at: Diagnostic | None = None) -> None:
    """Print a warning about something that does not end the run; `at` has its place and its remedy."""
    if at is None or not _as_json:
        say("warning", text if at is None else f"{at}; {at.help}")
        return
    from mprun.cli import json_messages

    json_messages.write(json_messages.of_text("warning", text, at))


def note(text: str) -> None:
    """Print what a user may want to know, as one line on stderr."""
    if not _as_json:
        write(text)
        return
    from mprun.cli import json_messages

    json_messages.write({"note": redact(text)})


def say(kind: str, text: str, stream: TextIO | None = None) -> None:
    """Print an `error` or a `warning` that has no place in a file, as one line, on stderr or a stream."""
    if _as_json and stream in (None, sys.stderr):
        from mprun.cli import json_messages

        json_messages.write(json_messages.of_text(kind, text))
        return
    stream = stream or sys.stderr
    head = f"\x1b[1m{kind}:\x1b[0m" if wants_colour(stream) else f"{kind}:"
    write(f"{head} {visible(text)}", stream)


def print_text(text: str) -> None:
    """Print what a command was asked for, on stdout, at once."""
    print_lines([text])
    sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, as soon as there are many of them."""
    rest = iter(lines)
    # What guards the terminal looks at each text: one by one, it takes a twentieth of a long plan.
    while text := "".join([f"{line}\n" for line in islice(rest, _LINES_PER_WRITE)]):
        sys.stdout.write(text)


def print_pieces(pieces: Iterable[str]) -> None:
    """Print a text that is made piece by piece."""
    for piece in pieces:
        sys.stdout.write(piece)


def print_json(value: Any) -> None:
    """Print a value for `--json`: one object, indented."""
    import json

    print_text(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """Print one of the values of a `--json` that has an object per line."""
    import json

    print_text(json.dumps(value, ensure_ascii=False))


def write(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Write a line, without secrets; a failure to write it is ignored, so that it never ends a run."""
    stream = stream or sys.stderr
    try:
        stream.write(redact(text) + end)
        stream.flush()
    except (OSError, ValueError):
        silence(stream)

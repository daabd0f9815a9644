"""Errors, warnings and other messages of commands, on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mprun.diagnostics import redact, visible
from mprun.errors import JobFileError, MprunError
from mprun.reporters.door import wants_colour
from mprun.reporters.terminal import MAIN, Output, silence

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO


def explain(error: MprunError) -> None:
    """Print an error, with each diagnostic at its place; before it, what the imported modules printed."""
    if error.output:
        Output([]).write(MAIN, [error.output.rstrip(b"\n") + b"\n"])
    if isinstance(error, JobFileError):
        from mprun.diagnostics import render

        write(render(error.diagnostics, wants_colour(sys.stderr)))
    else:
        say("error", str(error))


def warn(text: str) -> None:
    """Print a warning about something that does not end the run."""
    say("warning", text)


def say(kind: str, text: str, stream: TextIO | None = None) -> None:
    """Print an `error` or a `warning` that has no place in a file, as one line, on stderr or a stream."""
    stream = stream or sys.stderr
    head = f"\x1b[1m{kind}:\x1b[0m" if wants_colour(stream) else f"{kind}:"
    write(f"{head} {visible(text)}", stream)


def print_text(text: str) -> None:
    """Print what a command was asked for, on stdout, at once."""
    print_lines([text])
    sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout, as soon as there are many of them."""
    for line in lines:
        sys.stdout.write(line + "\n")


def print_pieces(pieces: Iterable[str]) -> None:
    """Print a text that is made piece by piece."""
    for piece in pieces:
        sys.stdout.write(piece)


def print_json(value: Any) -> None:
    """Print a value for `--json`: one object, indented."""
    import json

    print_text(json.dumps(value, indent=2, ensure_ascii=False))


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a line, without secrets; a failure to write it is ignored, so that it never ends a run."""
    stream = stream or sys.stderr
    try:
        stream.write(redact(text) + "\n")
        stream.flush()
    except (OSError, ValueError):
        silence(stream)

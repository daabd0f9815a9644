"""Reads env files; an error in a line never shows its value, which may be secret.

There is no standard: this reads what `sh` and the usual dotenv readers agree on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.diagnostics import Diagnostic, SourceLines, SourceText, Span
from mprun.errors import JobFileError
from mprun.jobfile.text_file import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

# A file with more errors is probably another kind of file.
MAX_DIAGNOSTICS = 100

_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_HIDDEN = "***"


class DotenvError(Exception):
    """An error in a line: `at` is the index of its first character, `help` says how to fix it."""

    def __init__(self, message: str, at: int, help: str, width: int = 1) -> None:
        super().__init__(message)
        self.at = at
        self.help = help
        self.width = width


def read_env_file(path: str) -> dict[str, str]:
    r"""The variables of an env file, in its order; the last value if a name is there twice.

    A line is `NAME=value`, with or without `export` before it, blank, or a comment. An
    unquoted value ends before white space with a `#` behind it, a `'quoted one'` is literal, in a
    `"quoted one"` `\n`, `\t`, `\"` and `\\` are escapes; every other backslash, and `$`, is
    itself. Raises UsageError for a file that cannot be read (missing, a directory, more
    than 1 MiB, not UTF-8), JobFileError for all other lines.
    """
    lines = re.split("\r\n?|\n", read_text(path, "env file"))
    variables: dict[str, str] = {}
    errors: dict[int, DotenvError] = {}
    for number, line in enumerate(lines):
        try:
            variables.update(_read_line(line))
        except DotenvError as error:
            errors[number] = error
            if len(errors) == MAX_DIAGNOSTICS:
                break
    if errors:
        raise JobFileError(list(_diagnostics(path, lines, errors)))
    return variables


def _diagnostics(path: str, lines: list[str], errors: dict[int, DotenvError]) -> Iterator[Diagnostic]:
    # The source is kept with the diagnostic, so it must not contain the other lines.
    shown = (_redacted(line) if number in errors else "" for number, line in enumerate(lines))
    source = SourceText(path=path, lines=SourceLines("\n".join(shown)))
    for number, error in errors.items():
        span = Span(line=number + 1, column=error.at + 1, width=error.width)
        yield Diagnostic(message=str(error), source=source, span=span, help=error.help)


# What comes before a value: with a valid name, and without one.
_ASSIGNMENT = re.compile(r"(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*", re.ASCII)
_BEGIN = re.compile(r"\s*(?:export\s+)?", re.ASCII)


def _redacted(line: str) -> str:
    """A line as a message may quote it: only its name, or nothing of it if the name is invalid.

    A line without a name may be part of a value: lines of a private key end with `=`, too.
    """
    match = _ASSIGNMENT.match(line) or _BEGIN.match(line)
    return f"{line[: match.end()] if match else ''}{_HIDDEN}"


def _read_line(line: str) -> dict[str, str]:
    begin = line.lstrip()
    if not begin or begin.startswith("#"):
        return {}
    match = _ASSIGNMENT.match(line)
    if match is None:
        raise _no_assignment(line)
    at = match.end()
    if "\0" in line:
        raise DotenvError(
            "NUL character in a value", at, "remove it: environment variables cannot contain NUL"
        )
    return {match[2]: _value(line, at)}


def _no_assignment(line: str) -> DotenvError:
    begin = _BEGIN.match(line)
    at = begin.end() if begin else 0
    name, equals, _ = line[at:].partition("=")
    if not equals:
        help = "write `NAME=VALUE`, or start the line with `#`"
        return DotenvError("missing `=`", at, help, len(_HIDDEN))
    if not name.strip():
        return DotenvError("missing name before the `=`", at, "write `NAME=VALUE`")
    help = "use letters, digits, `_`, `-` and `.`, and no digit first"
    return DotenvError("invalid environment variable name", at, help, len(_HIDDEN))


# After a quoted value: nothing, or a comment.
_REST = r"(?:\s+#.*)?\s*"
_SINGLE = re.compile(rf"'([^']*)'{_REST}")
_DOUBLE = re.compile(rf'"([^"\\]*(?:\\.[^"\\]*)*)"{_REST}')
_COMMENT = re.compile(r"\s#")


def _value(line: str, at: int) -> str:
    if line.startswith("'", at):
        return _quoted(_SINGLE, line, at)
    if line.startswith('"', at):
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), _quoted(_DOUBLE, line, at))
    # Search from the character before the value: an empty value may have a comment, too.
    comment = _COMMENT.search(line, at - 1)
    return line[at : comment.start() if comment else None].rstrip()


def _quoted(form: re.Pattern[str], line: str, at: int) -> str:
    match = form.match(line, at)
    if match is None:
        help = r"close it on this line; write a line break as `\n` in double quotes"
        raise DotenvError("unclosed quote", at, help)
    if match.end() < len(line):
        raise DotenvError("text after a quoted value", at, "put the whole value in quotes")
    return match[1]

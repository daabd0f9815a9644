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
    """An error in a text: `at` is the index of its first character, `help` says how to fix it.

    `resume` is an index in the last line that it is about; None if that is unknown.
    """

    def __init__(
        self, message: str, at: int, help: str, width: int = 1, *, resume: int | None = None
    ) -> None:
        super().__init__(message)
        self.at = at
        self.help = help
        self.width = width
        self.resume = resume


def read_env_file(path: str) -> tuple[dict[str, str], bytes]:
    r"""The variables of an env file, in its order, and its bytes; the last value if a name is there twice.

    A line is `NAME=value`, with or without `export` before it, blank, or a comment. An
    unquoted value ends before white space with a `#` behind it, a `'quoted one'` is literal, in a
    `"quoted one"` `\n`, `\t`, `\"` and `\\` are escapes; every other backslash, and `$`, is
    itself. A quoted value may go on over several lines, which end with `\n` in it. Raises UsageError
    for a file that cannot be read (missing, not a regular file, more than 1 MiB, not UTF-8),
    JobFileError for what is invalid.
    """
    text, data = read_text(path, "env file")
    text = re.sub("\r\n?", "\n", text)
    variables: dict[str, str] = {}
    # By the position of the line.
    errors: dict[int, DotenvError] = {}
    at = 0
    while at < len(text):
        plain = _PLAIN_LINE.match(text, at)
        if plain is not None:
            variables[plain[1]] = plain[2]
            at = plain.end()
            continue
        try:
            at = _read_line(text, at, variables)
        except DotenvError as error:
            errors[at] = error
            if len(errors) == MAX_DIAGNOSTICS or error.resume is None:
                break
            at = _next_line(text, error.resume)
    if errors:
        raise JobFileError(list(_diagnostics(path, text, errors)))
    return variables, data


def _next_line(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)


def _line(text: str, at: int) -> str:
    return text[at : _next_line(text, at)].rstrip("\n")


def _diagnostics(path: str, text: str, errors: dict[int, DotenvError]) -> Iterator[Diagnostic]:
    # The source is kept with the diagnostic, so it must not contain the other lines.
    numbers = {text.count("\n", 0, start): start for start in errors}
    shown = [""] * (max(numbers) + 1)
    for number, start in numbers.items():
        shown[number] = _redacted(_line(text, start))
    source = SourceText(path=path, lines=SourceLines("\n".join(shown)))
    for number, start in numbers.items():
        error = errors[start]
        span = Span(line=number + 1, column=error.at - start + 1, width=error.width)
        yield Diagnostic(message=str(error), source=source, span=span, help=error.help)


# What comes before a value: with a valid name, and without one.
_ASSIGNMENT = re.compile(r"(\s*(?:export\s+)?)([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*", re.ASCII)
# A line whose value has no quotes, no white space and no NUL, as most: there may be 100,000.
_PLAIN_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=((?:[^\s'\"\0][^\s\0]*)?)\n")
_BEGIN = re.compile(r"\s*(?:export\s+)?", re.ASCII)


def _redacted(line: str) -> str:
    """A line as a message may quote it: only its name, or nothing of it if the name is invalid.

    A line without a name may be part of a value: lines of a private key end with `=`, too.
    """
    match = _ASSIGNMENT.match(line) or _BEGIN.match(line)
    return f"{line[: match.end()] if match else ''}{_HIDDEN}"


def _read_line(text: str, start: int, variables: dict[str, str]) -> int:
    """Read what begins with the line at `start`; where the next line begins."""
    line = _line(text, start)
    begin = line.lstrip()
    if begin and not begin.startswith("#"):
        match = _ASSIGNMENT.match(line)
        if match is None:
            raise _no_assignment(line, start)
        at = start + match.end()
        value, end = _value(text, at, start + len(line))
        if "\0" in text[at:end]:
            help = "remove it: environment variables cannot contain NUL"
            raise DotenvError("NUL character in a value", at, help, resume=end)
        variables[match[2]] = value
        return _next_line(text, end)
    return _next_line(text, start)


def _no_assignment(line: str, start: int) -> DotenvError:
    begin = _BEGIN.match(line)
    first = begin.end() if begin else 0
    at = start + first
    name, equals, _ = line[first:].partition("=")
    if not equals:
        help = "write `NAME=VALUE`, or start the line with `#`"
        return DotenvError("missing `=`", at, help, len(_HIDDEN), resume=at)
    if not name.strip():
        return DotenvError("missing name before the `=`", at, "write `NAME=VALUE`", resume=at)
    help = "use letters, digits, `_`, `-` and `.`, and no digit first"
    return DotenvError("invalid environment variable name", at, help, len(_HIDDEN), resume=at)


# After a quoted value: nothing, or a comment.
_REST = r"(?:[^\S\n]+#[^\n]*)?[^\S\n]*"
_SINGLE = re.compile(rf"'([^']*)'{_REST}")
_DOUBLE = re.compile(rf'"([^"\\]*(?:\\[\s\S][^"\\]*)*)"{_REST}')
_COMMENT = re.compile(r"\s#")
# A private key or a certificate (RFC 7468).
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----")
_PEM_END = re.compile(r"^-----END [A-Z0-9 ]+-----", re.MULTILINE)


def _value(text: str, at: int, end: int) -> tuple[str, int]:
    """The value that begins at `at`, in a line that ends at `end`, and where it ends."""
    if text.startswith("'", at):
        return _quoted(_SINGLE, text, at)
    if text.startswith('"', at):
        value, after = _quoted(_DOUBLE, text, at)
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), value), after
    if _PEM.match(text, at):
        last = _PEM_END.search(text, end)
        message, help = "value of several lines without quotes", "put the whole value in quotes"
        raise DotenvError(message, at, help, resume=last.end() if last else None)
    # Search from the character before the value: an empty value may have a comment, too.
    comment = _COMMENT.search(text, at - 1, end)
    return text[at : comment.start() if comment else end].rstrip(), end


def _quoted(form: re.Pattern[str], text: str, at: int) -> tuple[str, int]:
    match = form.match(text, at)
    end = _next_line(text, at)
    # A quote that the next one opens does not end a value of several lines.
    if match is None or (match.end() >= end and not _ends_line(text, match.end())):
        raise DotenvError("unclosed quote", at, "close it at the end of the value")
    if not _ends_line(text, match.end()):
        raise DotenvError("text after a quoted value", at, "put the whole value in quotes", resume=at)
    return match[1], match.end()


def _ends_line(text: str, at: int) -> bool:
    return at == len(text) or text[at] == "\n"

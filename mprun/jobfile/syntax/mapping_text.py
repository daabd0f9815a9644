"""A job that a program passes as a mapping: as a text in which each line has one value, by its path.

So it is read and checked as a job file is, and an error has the path of its line in place of a position.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, SourceLines, SourceText, Span, is_visible
from mprun.errors import JobFileError
from mprun.jobfile.syntax.composer import MAX_DEPTH
from mprun.jobfile.syntax.document import MAX_BYTES, STANDARD_INPUT, parse

if TYPE_CHECKING:
    from mprun.jobfile.syntax.document import Document

# Characters of a key, more of which YAML has only behind a `?`.
_MAX_KEY = 500
# What YAML does not read as a string.
_WORDS = ("null", "true", "false")


class MappingText(SourceText):
    """The text of a mapping; `paths` has, by line from 1, the path of its value: `tasks[0].args`."""

    paths: list[str]

    def place(self, span: Span) -> str:
        """The path of the value at a position."""
        return self.paths[span.line - 1] if 1 <= span.line <= len(self.paths) else ""


def document_of(job: Any) -> Document:
    """The document of a mapping. Raises JobFileError if it has a value that a job file cannot have."""
    writer = _Writer()
    writer.write(job, "", "", 0, "")
    text = "\n".join(writer.lines)
    source = MappingText(path=STANDARD_INPUT, lines=SourceLines(text), paths=writer.paths)
    return parse(text, STANDARD_INPUT, source)


class _Writer:
    """Writes values as flow collections of YAML, an entry on a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.paths: list[str] = []
        self._size = 0

    def write(self, value: Any, path: str, head: str, depth: int, end: str) -> None:
        """Write a value after `head`, which has its key, and before `end`."""
        if isinstance(value, dict):
            self._add(f"{head}{{", path)
            for key, one in value.items():
                below = f"{path}.{key}" if path else str(key)
                self.write(one, below, self._key(key, below), self._below(depth, path), ",")
            self._add(f"}}{end}", path)
        elif isinstance(value, (list, tuple)):
            self._add(f"{head}[", path)
            for number, one in enumerate(value):
                self.write(one, f"{path}[{number}]", "", self._below(depth, path), ",")
            self._add(f"]{end}", path)
        else:
            self._add(f"{head}{self._scalar(value, path)}{end}", path)

    def _add(self, line: str, path: str) -> None:
        self.lines.append(line)
        self.paths.append(path)
        self._size += len(line)
        if self._size > MAX_BYTES:
            self._refuse(path, "the mapping is too large for a job (limit: 8 MiB)")

    def _below(self, depth: int, path: str) -> int:
        if depth >= MAX_DEPTH:
            self._refuse(path, f"lists and mappings are nested more than {MAX_DEPTH} deep")
        return depth + 1

    def _key(self, key: Any, path: str) -> str:
        # Messages show a key as it is written.
        is_plain = isinstance(key, str) and key.isidentifier() and key.isascii() and key.lower() not in _WORDS
        text = key if is_plain else self._scalar(key, path)
        return f"? {text} : " if len(text) > _MAX_KEY else f"{text}: "

    def _scalar(self, value: Any, path: str) -> str:
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, str):
            return self._quoted(str(value), path)
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            if math.isfinite(value):
                return float.__repr__(value)
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
        kind = type(value).__qualname__
        self._refuse(
            path, f"a value of type {kind} is not allowed in a job", "pass a string, number, list or mapping"
        )
        return ""

    def _quoted(self, text: str, path: str) -> str:
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._refuse(path, "the text contains a lone surrogate, which no job file can contain")
        return f'"{"".join(map(_escaped, text))}"'

    def _refuse(self, path: str, message: str, help: str = "") -> None:
        source = MappingText(path=STANDARD_INPUT, lines=SourceLines(""), paths=[path])
        raise JobFileError(
            [Diagnostic(message=message, source=source, span=Span(line=1, column=1), help=help)]
        )


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if is_visible(char) else f"\\U{ord(char):08x}"

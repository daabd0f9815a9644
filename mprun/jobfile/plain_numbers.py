"""Finds plain numbers that lose characters where they may be meant as text: `3.10` is the number 3.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.jobfile.resolution import as_text
from mprun.jobfile.syntax.composer import span_of_mark
from mprun.jobfile.syntax.document import Mapping, Sequence
from mprun.jobfile.syntax.scalars import loses_characters
from mprun.jobfile.syntax.written import WrittenScalars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.jobfile.syntax.document import Document

# No one would read more.
MAX_WARNINGS = 100

# Task keys whose values are passed on as they are, or shown in names.
_VALUE_KEYS = ("args", "kwargs", "matrix", "foreach")
# Quotes alone would be an error for a param that is a number, as its default is one.
_HELP_OF_PARAM = "if it is meant as text, quote it, and declare the param with `type: string`"


def lossy_numbers(document: Document) -> list[Diagnostic]:
    """A warning for each such number, once, sorted by position; takes a document that conforms to the schema.

    Not where a number is wanted, as in `timeout`, and not in `command` and `env`, which take the text.
    """
    finder = _Finder(document)
    for node, mark in _values(document.root):
        finder.walk(node, mark)
    for node, mark in _given(document.root):
        finder.walk(node, mark, _HELP_OF_PARAM)
    return sorted(finder.found.values(), key=Diagnostic.sort_key)


def _values(root: Any) -> Iterator[tuple[Any, int]]:
    params = root.get("params")
    if isinstance(params, Mapping):
        for raw, mark in zip(params.values(), params.marks[1::2], strict=True):
            if not isinstance(raw, Mapping):
                yield raw, mark
            elif raw.get("type") not in ("integer", "number"):
                yield from _under(raw, ("default", "enum"))
    for task in (root.get("defaults"), *root["tasks"]):
        if isinstance(task, Mapping):
            yield from _under(task, _VALUE_KEYS)
            if isinstance(expect := task.get("expect"), Mapping):
                yield from _under(expect, ("result",))


def _given(root: Any) -> Iterator[tuple[Any, int]]:
    """What is given to the params of recipes."""
    for task in (root.get("defaults"), *root["tasks"]):
        given = task.get("with") if isinstance(task, Mapping) else None
        if isinstance(given, Mapping):
            yield from zip(given.values(), given.marks[1::2], strict=True)


def _under(node: Mapping, keys: tuple[str, ...]) -> Iterator[tuple[Any, int]]:
    for key in keys:
        if key in node:
            yield node[key], node.marks_of(key)[1]


class _Finder:
    def __init__(self, document: Document) -> None:
        self._source = document.source
        self._written = WrittenScalars(document.source)
        # The collections that were searched, which aliases may repeat.
        self._seen: set[int] = set()
        # The warnings by mark.
        self.found: dict[int, Diagnostic] = {}

    def walk(self, node: Any, mark: int, help: str = "") -> None:
        """Look at a node and what is in it; `help` is for the node itself."""
        if isinstance(node, (int, float)) and not isinstance(node, bool):
            self._number(node, mark, help)
        elif isinstance(node, (Mapping, Sequence)) and id(node) not in self._seen and not self._is_full:
            self._seen.add(id(node))
            if isinstance(node, Sequence):
                pairs = zip(node, node.marks, strict=True)
            else:
                pairs = zip((one for entry in node.items() for one in entry), node.marks, strict=True)
            for child, child_mark in pairs:
                self.walk(child, child_mark)

    @property
    def _is_full(self) -> bool:
        return len(self.found) >= MAX_WARNINGS

    def _number(self, number: float, mark: int, help: str) -> None:
        text = self._written.text_of(number, mark)
        if not self._is_full and loses_characters(text, number):
            message = f"{quote(text)} is the number {as_text(number)[:40]}"
            span = span_of_mark(self._source, mark)
            help = help or f'quote it: `"{text[:40]}"`'
            self.found[mark] = Diagnostic(message=message, source=self._source, span=span, help=help)

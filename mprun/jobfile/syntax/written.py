"""The text of a plain scalar as its file has it, such as `012` for the number 12."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING

from mprun.jobfile.syntax.composer import MARK_SHIFT, length_of_mark
from mprun.jobfile.syntax.scalars import OutOfRange, resolve

if TYPE_CHECKING:
    from mprun.diagnostics import SourceText

# Anchors of one name before an alias that are looked at.
_MAX_ANCHORS = 100
# An anchor and the plain scalar after it.
_ANCHORED = re.compile(r"&([^\s\[\]{},]+)\s+([^\s\[\]{},]+)")


class WrittenScalars:
    """Finds the texts of the plain scalars of one file."""

    def __init__(self, source: SourceText) -> None:
        self._text = source.lines.text
        # By the name of an anchor: the position and the text of every scalar that has it, in order.
        self._anchored: dict[str, list[tuple[int, str]]] | None = None

    def text_of(self, value: object, mark: int) -> str:
        """The text of the number or boolean at a mark, also if an alias (`*name`) repeats it there."""
        start = mark >> MARK_SHIFT
        text = self._text[start : start + length_of_mark(mark)].strip()
        if text.startswith("*"):
            return self._aliased(text[1:], value, start)
        return re.sub(r"^&\S+\s+", "", text)

    def _aliased(self, name: str, value: object, end: int) -> str:
        if self._anchored is None:
            self._anchored = {}
            for found in _ANCHORED.finditer(self._text):
                self._anchored.setdefault(found[1], []).append((found.start(), found[2]))
        # What looks like an anchor may be part of a string, so the value must be the same.
        found_before = self._anchored.get(name, [])
        for _, text in found_before[: bisect_left(found_before, (end, ""))][: -_MAX_ANCHORS - 1 : -1]:
            if _is_text_of(text, value):
                return text
        return str(value).lower() if isinstance(value, bool) else str(value)


def _is_text_of(text: str, value: object) -> bool:
    try:
        found = resolve(text)
    except OutOfRange:
        return False
    # `.nan` equals nothing, not even itself.
    return type(found) is type(value) and repr(found) == repr(value)

"""Takes the plain numbers and booleans in `command` and `env` for the text that the file has.

Words of a command and variables are always text, so `PORT: 8080`, `ID: 012` and `[sleep, 5]` need no quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.syntax.document import Mapping, Sequence
from mprun.jobfile.syntax.written import WrittenScalars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.jobfile.syntax.document import Document


def take_texts(document: Document, holders: Iterable[Mapping]) -> None:
    """Replace the numbers and booleans in the commands and variables of some mappings of a document."""
    texts = _Texts(document)
    for holder in holders:
        for key in ("command", "env"):
            if key in holder:
                texts.replace(holder, key, holder[key])


class _Texts:
    def __init__(self, document: Document) -> None:
        self._written = WrittenScalars(document.source)
        # The copies by the id of their original, which aliases may repeat in very many tasks.
        self._copies: dict[int, tuple[Any, Any]] = {}

    def replace(self, holder: Mapping, key: str, node: Any) -> None:
        """Replace the value of a key by one of texts, unless it is that already."""
        if key == "command" and _is_plain(node):
            holder[key] = self._written.text_of(node, holder.marks_of(key)[1])
        elif isinstance(node, (Mapping, Sequence)):
            # The original may also be, by an alias, a value of another key.
            found = self._copies.get(id(node))
            if found is None:
                found = self._copies[id(node)] = (node, self._of_texts(node))
            holder[key] = found[1]

    def _of_texts(self, node: Any) -> Any:
        values = node.values() if isinstance(node, Mapping) else node
        if not any(map(_is_plain, values)):
            return node
        if isinstance(node, Sequence):
            copy: Any = Sequence(map(self._text, node, node.marks))
        else:
            copy = Mapping(zip(node, map(self._text, node.values(), node.marks[1::2]), strict=True))
        copy.marks = node.marks
        return copy

    def _text(self, value: Any, mark: int) -> Any:
        return self._written.text_of(value, mark) if _is_plain(value) else value


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float))

"""Parses references such as `${params.day}`: in one string, or in all strings of a tree."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mprun.jobfile.references import (
    ROOTS,
    Reference,
    ReferenceProblem,
    SiblingReference,
    Template,
    append_text,
    references,
)
from mprun.jobfile.syntax import composer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.diagnostics import SourceText

# Characters of a reference: each of its parts is copied several times.
_MAX_REFERENCE = 4096
# Characters of an unclosed reference that an error marks.
_MAX_UNCLOSED = 40

# A reference may contain others, but these contain none. Not compiled before there is one: that takes
# a hundredth of a start. It never goes back, which would find nothing else, and take 150 bytes for each
# character.
_REFERENCE = r"\$\$\{|\$\{((?:[^{}$]++|\$(?!\{)|\$\{[^{}]*+\})*+)\}|\$\{"


def parse(text: str, prefix: str = "", source: SourceText | None = None, mark: int = 0) -> Any:
    """The node of a string: the string itself, a Reference if that is all of it, else a Template.

    `prefix` goes before the names of tasks: inside a recipe they are its own. `source` and
    `mark` are those of the string. Raises ReferenceProblem if a reference is invalid.
    """
    if "${" not in text:
        return text
    # A string that is one reference, like most that have any, takes a third of the time in `_whole`.
    if text[:2] == "${" and text.find("}") == len(text) - 1 <= _MAX_REFERENCE and "{" not in text[2:]:
        return _whole(text, prefix, source, mark)
    parts: list[str | Reference] = []
    # The texts since the last reference: to add each to the one before would be quadratic.
    texts: list[str] = []
    places: dict[int, int] = {}
    end = 0
    for token in re.finditer(_REFERENCE, text):
        texts.append(text[end : token.start()])
        end = token.end()
        if token[0] == "$${":
            texts.append("${")
            continue
        append_text(parts, "".join(texts))
        texts = []
        try:
            parts.append(_parse_token(token, prefix, source, mark, places))
        except ReferenceProblem as error:
            if source is not None:
                length = _marked_length(token)
                error.source, error.mark = source, _mark_in(source, mark, token, length, places)
            raise
    append_text(parts, "".join((*texts, text[end:])))
    if len(parts) == 1:
        return parts[0]
    return Template(parts=tuple(parts))


def _whole(text: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    """The reference that is all of a string, and contains no other."""
    if source is None:
        return _placed(text[2:-1], prefix, None, 0)
    start, written = mark >> composer.MARK_SHIFT, source.lines.text
    if written.startswith(text, start + 1):
        mark = composer.pack_mark(start + 1, len(text))
    elif written.startswith(text, start):
        mark = composer.pack_mark(start, len(text))
    else:
        (token,) = re.finditer(_REFERENCE, text)
        mark = _mark_in(source, mark, token, len(text), {})
    try:
        return _placed(text[2:-1], prefix, source, mark)
    except ReferenceProblem as error:
        error.source, error.mark = source, mark
        raise


def _placed(text: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    known = _parsed(text, prefix)
    # Takes half the time of the constructor.
    return Reference.from_tuple((text, known.root, known.name, known.path, source, mark))


@lru_cache(maxsize=256)
def _parsed(text: str, prefix: str) -> Reference:
    """A reference without its place: the same one is often written many times."""
    return _reference(text, prefix, None, 0)


def _parse_token(
    token: re.Match[str], prefix: str, source: SourceText | None, mark: int, places: dict[int, int]
) -> Reference:
    if token.end() - token.start() > _MAX_REFERENCE:
        raise ReferenceProblem(f"a reference has more than {_MAX_REFERENCE:,} characters")
    if token[1] is not None:
        found = 0 if source is None else _mark_in(source, mark, token, len(token[0]), places)
        if "${" not in token[1]:
            return _placed(token[1], prefix, source, found)
        return _reference(token[1], prefix, source, found)
    # A run has none.
    from mprun.jobfile.invalid_references import unfinished

    message, help = unfinished(token.string, token.start())
    raise ReferenceProblem(message, help=help)


def _marked_length(token: re.Match[str]) -> int:
    """How many characters of a reference an error marks."""
    if token[1] is not None:
        return len(token[0]) if token.end() - token.start() <= _MAX_REFERENCE else _MAX_UNCLOSED
    return 3 if token.string.startswith("${{", token.start()) else _MAX_UNCLOSED


def _mark_in(source: SourceText, mark: int, token: re.Match[str], length: int, places: dict[int, int]) -> int:
    """The mark of a token in the string at `mark`; that of the string if it is written with escapes.

    `places` has the positions of the tokens in the file, by those in the string, once they were needed.
    """
    text, start = source.lines.text, mark >> composer.MARK_SHIFT
    # One slice: of a string of a megabyte, all that follows would be copied for each of its references.
    piece = token.string[token.start() : token.start() + length]
    # Most strings are written as they are, from the first character or after a quote.
    for position in (start + token.start(), start + token.start() + 1):
        if text.startswith(piece, position):
            return composer.pack_mark(position, len(piece))
    # The string is folded, or has an anchor or escapes.
    if not places:
        end = start + composer.length_of_mark(mark)
        places.update(_places(token.string, text, start, end))
        # Found once, even if there are none.
        places[-1] = -1
    place = places.get(token.start())
    return mark if place is None else composer.pack_mark(place, len(piece))


def _places(string: str, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The positions of references in a string, each with that in a part of the file's text."""
    written: dict[str, list[int]] = {}
    for found in re.compile(_REFERENCE).finditer(text, start, end):
        written.setdefault(found[0], []).append(found.start())
    iterators = {token: iter(positions) for token, positions in written.items()}
    for found in re.finditer(_REFERENCE, string):
        place = next(iterators.get(found[0], iter(())), None)
        if place is not None:
            yield found.start(), place


def _reference(text: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    if "${" in text:
        return _sibling_reference(text, prefix, source, mark)
    root, _, rest = text.partition(".")
    if root not in ROOTS:
        # A run has none.
        from mprun.jobfile.invalid_references import unknown_root

        message, help = unknown_root(text, root)
        raise ReferenceProblem(message, help=help)
    if root == "tasks":
        return _task_reference(text, rest, prefix, source, mark)
    steps = rest.split(".") if rest else []
    if "" in steps or (root != "item" and not steps) or text.endswith("."):
        example = "item" if root == "item" else f"{root}.NAME"
        message = f"invalid reference `${{{text[:60]}}}`; expected `${{{example}}}`"
        raise ReferenceProblem(message)
    if root == "item":
        return Reference(text=text, root=root, name="", path=tuple(steps), source=source, mark=mark)
    name, *path = steps
    return Reference(text=text, root=root, name=name, path=tuple(path), source=source, mark=mark)


def _task_reference(text: str, rest: str, prefix: str, source: SourceText | None, mark: int) -> Reference:
    # The name ends at the first `.result`, because it may contain dots.
    name, found, path = rest.partition(".result")
    if ".outputs." in f"{name}.":
        return _output_reference(text, rest, prefix)
    if not found or not name or (path and not path.startswith(".")) or "" in path.split(".")[1:]:
        from mprun.jobfile.invalid_references import no_result

        message, help = no_result(text)
        raise ReferenceProblem(message, help=help)
    steps = tuple(path.split(".")[1:])
    return Reference(text=text, root="tasks", name=prefix + name, path=steps, source=source, mark=mark)


def _output_reference(text: str, rest: str, prefix: str) -> Reference:
    """The reference to an output of a recipe, without its place; `rest` is what follows `tasks.`."""
    name, _, path = rest.partition(".outputs.")
    steps = tuple(path.split("."))
    if not name or "" in steps:
        message = f"invalid reference `${{{text[:60]}}}`; expected `${{tasks.NAME.outputs.NAME}}`"
        raise ReferenceProblem(message)
    return Reference(text=text, root="outputs", name=prefix + name, path=steps)


def _sibling_reference(text: str, prefix: str, source: SourceText | None, mark: int) -> SiblingReference:
    # Few files have one.
    from mprun.jobfile.sibling_syntax import InvalidSelection, split_selection

    try:
        name, values, steps = split_selection(text)
    except InvalidSelection as error:
        raise ReferenceProblem(str(error), help=error.help) from None
    selector = tuple([(axis, parse(value, prefix)) for axis, value in values])
    for one in references([node for _, node in selector]):
        if one.root not in ("matrix", "item"):
            message = f"`{one}` is not available inside of a reference"
            raise ReferenceProblem(message, help="only `${matrix.KEY}` and `${item}` are")
    return SiblingReference(
        text=text,
        root="tasks",
        name=prefix + name,
        path=steps,
        source=source,
        mark=mark,
        selector=selector,
    )


def compiled(node: Any, prefix: str = "", source: SourceText | None = None, mark: int = 0) -> Any:
    """A tree with its strings parsed; a plain copy if no string has a reference.

    Its references know their position if `source`, the file that the tree is of, is given;
    `mark` is that of the tree's root, which only a string needs.
    """
    if isinstance(node, str):
        return parse(node, prefix, source, mark)
    if isinstance(node, dict):
        marks = iter(node.marks if source is not None and isinstance(node, composer.Mapping) else ())
        copy = {}
        for key, value in node.items():
            key_mark, value_mark = next(marks, mark), next(marks, mark)
            name = parse(key, prefix, source, key_mark) if isinstance(key, str) and "${" in key else key
            copy[name] = compiled(value, prefix, source, value_mark)
        return copy
    if source is not None and isinstance(node, composer.Sequence):
        pairs = zip(node, node.marks, strict=True)
        # Most are strings, and thousands of them are not worth a call each that only looks at their type.
        return [
            (parse if isinstance(item, str) else compiled)(item, prefix, source, item_mark)
            for item, item_mark in pairs
        ]
    if isinstance(node, (list, tuple)):
        return [compiled(item, prefix, source, mark) for item in node]
    return node

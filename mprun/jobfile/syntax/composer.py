"""Builds a tree of marked nodes from YAML events, and enforces limits while it does."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, Span, quote
from mprun.jobfile.syntax.scalars import NON_STRING_START, OutOfRange, loses_characters, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from mprun.diagnostics import SourceText

MAX_DEPTH = 64
MAX_NODES = 1_000_000
# Aliases could also multiply a long string; expanded, they may add this many characters.
MAX_ALIASED = 8 * 1024 * 1024
MAX_DIAGNOSTICS = 100

# A mark is a position in one int, because a file may have a million: the index of its first
# character, then its length in the last 24 bits, which 8 MiB fit into.
MARK_SHIFT = 24
_LENGTH_MASK = (1 << MARK_SHIFT) - 1

# Python takes an int's hash modulo this prime: keys chosen to collide would take hours.
_MAX_INT_KEY = 2**61 - 1

_NO_KEY: Any = object()


class Mapping(dict[Any, Any]):
    """A mapping of the file; `marks` are those of its keys and values, alternating, in order."""

    __slots__ = ("marks",)
    marks: list[int]

    def marks_of(self, key: object) -> tuple[int, int]:
        """The marks of a key and of its value. Raises KeyError if there is no such key."""
        for number, other in enumerate(self):
            if other is key or other == key:  # `.nan` equals nothing, not even itself
                return self.marks[2 * number], self.marks[2 * number + 1]
        raise KeyError(key)


class Sequence(list[Any]):
    """A list of the file; `marks` has the mark of each item."""

    __slots__ = ("marks",)
    marks: list[int]


class Stop(Exception):
    """Stops reading the file."""


def pack_mark(start: int, length: int) -> int:
    """The mark of `length` characters from `start`."""
    return (start << MARK_SHIFT) | length


def length_of_mark(mark: int) -> int:
    """How many characters a mark covers."""
    return mark & _LENGTH_MASK


def span_of_mark(source: SourceText, mark: int) -> Span:
    """The span of a mark, at most to the end of its first line."""
    # Only messages need it.
    from bisect import bisect_right

    starts = source.lines.starts()
    line = bisect_right(starts, mark >> MARK_SHIFT, hi=len(source.lines)) - 1
    column = (mark >> MARK_SHIFT) - starts[line]
    width = min(mark & _LENGTH_MASK, len(source.lines[line]) - column)
    return Span(line=line + 1, column=column + 1, width=max(width, 1))


def _mark(event: Any) -> int:
    start: int = event.start_mark.index
    length: int = event.end_mark.index - start
    return (start << MARK_SHIFT) | length


class _Frame:
    """A collection that is still open; `nodes` and `aliased` are the composer's counts before it."""

    __slots__ = ("above", "aliased", "anchor", "height", "key", "key_mark", "mark", "node", "nodes")

    def __init__(self, above: _Frame | None, node: Mapping | Sequence, mark: int, composer: Composer) -> None:
        self.above = above
        self.node = node
        self.mark = mark
        self.nodes = composer.nodes
        self.aliased = composer.aliased
        self.anchor: str | None = None
        self.height = 1
        self.key: Any = _NO_KEY
        self.key_mark = 0


class _Anchor:
    """The value of an anchor, with the nodes, characters and levels that it expands to."""

    __slots__ = ("closed", "height", "length", "nodes", "value")

    def __init__(self, value: object, nodes: int, length: int, height: int, closed: bool = True) -> None:
        self.value = value
        self.nodes = nodes
        self.length = length
        self.height = height
        self.closed = closed  # its end was seen: an alias before that is inside it


class Composer:
    """Takes the events of one file through `handlers`; then has `root` and `diagnostics`."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self.root: object = None
        self.root_mark = 0
        self.nodes = 0
        self.aliased = 0
        # Whether any plain number loses characters (`loses_characters`).
        self.has_lossy_numbers = False
        self._depth = 0
        self._documents = 0
        self._has_merge_key = False
        self._anchors: dict[str, _Anchor] = {}
        self._bottom = self._frame = _Frame(None, Sequence(), 0, self)
        self._bottom.node.marks = []

    def handlers(self) -> dict[str, Callable[[Any], None]]:
        """The methods that take an event, by the name of its class.

        They are not an attribute: that would be a reference cycle, which keeps the tree of a large
        file while the garbage collector is off.
        """
        return {
            "StreamStartEvent": _ignore,
            "StreamEndEvent": self._end_stream,
            "DocumentStartEvent": self._start_document,
            "DocumentEndEvent": _ignore,
            "MappingStartEvent": self._start_mapping,
            "SequenceStartEvent": self._start_sequence,
            "MappingEndEvent": self._end_collection,
            "SequenceEndEvent": self._end_collection,
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
        }

    def diagnostic(self, mark: int, message: str, help: str = "") -> None:
        """Add a diagnostic; after the hundredth, stop reading."""
        span = span_of_mark(self.source, mark)
        self.diagnostics.append(Diagnostic(message=message, source=self.source, span=span, help=help))
        if len(self.diagnostics) >= MAX_DIAGNOSTICS:
            raise Stop

    def _stop(self, mark: int, message: str, help: str = "") -> None:
        self.diagnostic(mark, message, help)
        raise Stop

    def _start_document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            help = "keep one, or move the others to files of their own"
            self._stop(
                _mark(event), "a job file contains one YAML document, but a second one starts here", help
            )
        if event.version and tuple(event.version) < (1, 2):
            help = "remove the directive, and quote the values that YAML 1.1 reads differently"
            self.diagnostic(_mark(event), "job files use YAML 1.2", help)

    def _end_stream(self, event: Any) -> None:
        if self._bottom.node:
            (self.root,), (self.root_mark,) = self._bottom.node, self._bottom.node.marks
        if self.root is None and not self.diagnostics:
            self.diagnostic(0, "the job file is empty", "start with `tasks:`")

    def _scalar(self, event: Any) -> None:
        start = event.start_mark.index
        length = event.end_mark.index - start
        mark = (start << MARK_SHIFT) | length
        value: object = event.value
        if not event.style and (not value or value[0] in NON_STRING_START):  # type: ignore[index]
            try:
                value = resolve(value)  # type: ignore[arg-type]
                # Most numbers are written as Python would.
                if type(value) is float:
                    if repr(value) != event.value:
                        self.has_lossy_numbers |= loses_characters(event.value, value)
                elif type(value) is int and event.value[0] in "+-0":
                    self.has_lossy_numbers |= loses_characters(event.value, value)
            except OutOfRange as error:
                self.diagnostic(mark, str(error), "quote it if it is meant as a string")
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._refuse_nodes(mark)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(value, 1, length, 0)
        if event.tag is not None:
            self._refuse_tag(event, mark)
        frame = self._frame
        node = frame.node
        if type(node) is Sequence:
            node.append(value)
            node.marks.append(mark)
        elif frame.key is _NO_KEY:
            if value == "<<" and not event.style:
                value = self._refuse_merge(mark)
            self._set_key(frame, value, mark)
        else:
            node[frame.key] = value
            node.marks += (frame.key_mark, mark)
            frame.key = _NO_KEY

    def _start_mapping(self, event: Any) -> None:
        self._open(event, Mapping())

    def _start_sequence(self, event: Any) -> None:
        self._open(event, Sequence())

    def _open(self, event: Any, node: Mapping | Sequence) -> None:
        node.marks = []
        mark = _mark(event)
        if event.tag is not None:
            self._refuse_tag(event, mark)
        self._depth += 1
        self._check_depth(self._depth, mark)
        frame = self._frame = _Frame(self._frame, node, mark, self)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._refuse_nodes(mark)
        if event.anchor is not None:
            frame.anchor = event.anchor
            self._anchors[event.anchor] = _Anchor(node, 0, 0, 0, closed=False)

    def _end_collection(self, event: Any) -> None:
        frame, end = self._frame, event.end_mark.index
        above = self._frame = frame.above or self._bottom
        self._depth -= 1
        if above.height <= frame.height:
            above.height = frame.height + 1
        mark = frame.mark
        start = mark >> MARK_SHIFT
        if frame.anchor is not None:
            length = end - start + self.aliased - frame.aliased
            self._anchors[frame.anchor] = _Anchor(frame.node, self.nodes - frame.nodes, length, frame.height)
        # A list or mapping in brackets is marked to its end; one of lines at its beginning.
        if event.start_mark.index != end:
            mark = (start << MARK_SHIFT) | (end - start)
        self._insert(frame.node, mark)

    def _alias(self, event: Any) -> None:
        start = event.start_mark.index
        mark = (start << MARK_SHIFT) | (event.end_mark.index - start)
        anchor = self._anchors.get(event.anchor)
        if anchor is None or not anchor.closed:
            anchor = self._refuse_alias(event.anchor, anchor, mark)
        # Counted with all that it expands to, so that a bomb is refused before anything walks it.
        self.nodes += anchor.nodes
        self.aliased += anchor.length
        if self.nodes > MAX_NODES:
            self._refuse_nodes(mark)
        if self.aliased > MAX_ALIASED:
            self._stop(mark, "the aliases of the file expand to more than 8 MiB", "split the job")
        frame = self._frame
        if frame.height <= anchor.height:
            self._check_depth(self._depth + anchor.height, mark)
            frame.height = anchor.height + 1
        self._insert(anchor.value, mark)

    def _refuse_alias(self, name: str, anchor: _Anchor | None, mark: int) -> _Anchor:
        if anchor is not None:
            message = f"alias {quote('*' + name[:80])} refers to a node that contains it"
            self._stop(mark, message, "write the value out")
        help = f'quote it if it is a string: `"*{name[:60]}"`'
        self.diagnostic(mark, f"unknown alias {quote('*' + name[:80])}", help)
        return _Anchor(None, 1, 0, 0)

    def _refuse_nodes(self, mark: int) -> None:
        self._stop(mark, f"the file has more than {MAX_NODES:,} nodes (aliases expanded)", "split the job")

    def _check_depth(self, depth: int, mark: int) -> None:
        if depth > MAX_DEPTH:
            message = f"lists and mappings are nested more than {MAX_DEPTH} deep"
            self._stop(mark, message, "flatten them")

    def _insert(self, value: object, mark: int) -> None:
        frame = self._frame
        node = frame.node
        if type(node) is Sequence:
            node.append(value)
            node.marks.append(mark)
        elif frame.key is _NO_KEY:
            self._set_key(frame, value, mark)
        else:
            node[frame.key] = value
            node.marks += (frame.key_mark, mark)
            frame.key = _NO_KEY

    def _set_key(self, frame: _Frame, value: Any, mark: int) -> None:
        if type(value) is str:
            value = intern(value)
        elif isinstance(value, (Mapping, Sequence)):
            value = self._refuse_complex_key(mark)
        elif type(value) is int and abs(value) >= _MAX_INT_KEY:
            self.diagnostic(mark, "key is a number with more than 18 digits", "quote it")
        if value in frame.node:
            self._refuse_duplicate(frame.node, value, mark)  # type: ignore[arg-type]
            value = object()  # so that the first one keeps its place
        frame.key = value
        frame.key_mark = mark

    def _refuse_complex_key(self, mark: int) -> object:
        # A template's `{{ x }}` and a reference in braces come here too.
        self.diagnostic(mark, "a key must be a string, not a list or a mapping", "quote it if it is a string")
        return object()

    def _refuse_duplicate(self, node: Mapping, key: Hashable, mark: int) -> None:
        first = node.marks_of(key)[0]
        line = span_of_mark(self.source, first).line
        was, now = self._text(first), self._text(mark)
        old = next(other for other in node if other is key or other == key)
        if type(old) is not type(key):
            message = f"keys {quote(was)} (line {line}) and {quote(now)} are equal in Python"
            self.diagnostic(mark, message, f'quote one of them: `"{now[:60]}"`')
        else:
            message = f"duplicate key {quote(now)}: first used on line {line}"
            self.diagnostic(mark, message, "remove one of them")

    def _text(self, mark: int) -> str:
        span = span_of_mark(self.source, mark)
        start = span.column - 1
        return self.source.lines[span.line - 1][start : start + min(span.width, 80)]

    def _refuse_merge(self, mark: int) -> object:
        """One error for all merge keys: with the first, the others are gone, too."""
        if not self._has_merge_key:
            self._has_merge_key = True
            help = "put shared keys under `defaults`, or one value under an `x-` key: `env: *shared`"
            self.diagnostic(mark, "merge keys (`<<`) are not supported", help)
        return object()

    def _refuse_tag(self, event: Any, mark: int) -> None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        help = "quote the value instead" if tag == "!!str" else "remove the tag"
        self.diagnostic(mark, f"tags are not supported: {quote(tag[:80])}", help)


def _ignore(event: Any) -> None:
    pass

"""References such as `${params.day}`: what they consist of, what resolves them, and where a tree has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, suggest
from mprun.frozen import Frozen
from mprun.jobfile.syntax.document import span_of, span_of_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mprun.diagnostics import SourceText
    from mprun.jobfile.budget import Budget
    from mprun.jobfile.syntax.document import Document

ROOTS = ("params", "env", "matrix", "item", "tasks")

# Keys that are resolved when a task starts, so they may refer to results.
LATE_KEYS = frozenset({"args", "kwargs", "command", "env", "cwd", "when", "foreach", "with"})
# Keys that may contain a secret; the others are shown and recorded.
SECRET_KEYS = frozenset({"args", "kwargs", "command", "env", "when", "with"})

# The types of values that contain no others: a list may have 100,000, not worth a call each.
PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


class Reference(Frozen):
    """One `${…}`: its root, the name under it, and the path into the value.

    `text` is the text between the braces. `name` is that of a param, a variable, an axis or a
    task, and empty under `item`. The root `outputs` is that of `${tasks.NAME.outputs.X}`, with X in
    `path`, until `recipe_outputs` puts a result in its place. `source` and `mark` are the
    file that contains it, and where (`composer.span_of_mark`); two references that differ
    only in them are equal.
    """

    text: str
    root: str
    name: str
    path: tuple[str, ...] = ()
    source: SourceText | None = None
    mark: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.text == other.text and self.name == other.name

    def __hash__(self) -> int:
        return hash((self.text, self.name))

    def __repr__(self) -> str:
        return f"Reference({self.text!r}, {self.name!r})"

    def __str__(self) -> str:
        return f"${{{self.text}}}"


class SiblingReference(Reference):
    """A reference to the result of one instance: `${tasks.fetch[f=${matrix.f},1].result}`.

    `name` is that of the task, `selector` has a value for each axis that is named, or for the first ones
    if the names are empty: a text or a node. `closure` resolves them, if not the task that has the reference.
    """

    selector: tuple[tuple[str, Any], ...]
    closure: Closure | None = None

    def selecting(self, selector: tuple[tuple[str, Any], ...], shown: Sequence[str]) -> SiblingReference:
        """The same with other values, which are shown as these texts."""
        parts = [f"{axis}={text}" if axis else text for (axis, _), text in zip(selector, shown, strict=True)]
        head, path = self.text.partition("[")[0], "".join(f".{step}" for step in self.path)
        return self.replace(text=f"{head}[{','.join(parts)}].result{path}", selector=selector)


class Template(Frozen):
    """A string with references: its texts and references, in order."""

    parts: tuple[str | Reference, ...]

    def __str__(self) -> str:
        return "".join(str(part) if isinstance(part, Reference) else escaped(part) for part in self.parts)


class ReferenceProblem(Exception):
    """An invalid reference: the error, and how to fix it.

    `word` is the unknown name, `candidates` are the known ones, and `kind` is their plural;
    `source` and `mark` are those of the reference, if they are known.
    """

    def __init__(
        self,
        message: str,
        reference: Reference | None = None,
        *,
        help: str = "",
        kind: str = "names",
        word: str = "",
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.source = None if reference is None else reference.source
        self.mark = 0 if reference is None else reference.mark
        self.help = help
        self.kind = kind
        self.word = word
        self.candidates = candidates


class Scope(Frozen):
    """What the references of one job file can name before the run starts.

    A param whose value is known only during the run is a reference, or contains some.
    `secrets` are the names of params whose values are never shown. `budget` is what resolving references
    may cost; None if nothing counts it.
    """

    params: dict[str, Any]
    secrets: frozenset[str] = frozenset()
    env: Mapping[str, str]
    budget: Budget | None = None


class Closure(Frozen):
    """A node with the scope that resolves it, such as a value in `with` in that of the recipe's user.

    `read` makes a value of a text, if the node is one reference and its text may have to be another type.
    """

    node: Any
    scope: Scope
    axes: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    read: Callable[[str], Any] | None = None


def has_references(document: Document) -> bool:
    """Whether any string of a file may have a reference."""
    return "${" in document.source.lines.text


def append_text(parts: list[str | Reference], text: str) -> None:
    """Add a text, joined to the part before it if that is a text."""
    if parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


def escaped(text: str) -> str:
    """A text with its `${` escaped, as a job file would write it."""
    return text.replace("${", "$${")


def references(node: Any) -> Iterator[Reference]:
    """Every reference in a compiled tree."""
    if isinstance(node, Reference):
        yield node
    elif isinstance(node, Template):
        yield from (part for part in node.parts if isinstance(part, Reference))
    elif isinstance(node, Closure):
        for one in references(node.node):
            # What selects an instance is known in the scope of the closure alone.
            bound = isinstance(one, SiblingReference) and one.closure is None
            yield one.replace(closure=node) if bound else one
    elif isinstance(node, dict):
        for key, value in node.items():
            if type(key) not in PLAIN_TYPES:
                yield from references(key)
            if type(value) not in PLAIN_TYPES:
                yield from references(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            if type(item) not in PLAIN_TYPES:
                yield from references(item)


def refers(node: Any) -> bool:
    """Whether a compiled tree has a reference; what is in many places of it is looked at once.

    Without recursion: a result may be nested deeper than Python 3.12 calls generators in each other.
    """
    seen: set[int] = set()
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, (dict, list, tuple)):
            if id(node) in seen:
                continue
            seen.add(id(node))
            left += [one for one in node if type(one) not in PLAIN_TYPES]
            if isinstance(node, dict):
                left += [one for one in node.values() if type(one) not in PLAIN_TYPES]
        elif isinstance(node, Closure):
            left.append(node.node)
        elif isinstance(node, (Reference, Template)) and next(references(node), None) is not None:
            return True
    return False


def reference_diagnostic(
    document: Document, path: tuple[str | int, ...], error: ReferenceProblem, *, key: bool = False
) -> Diagnostic:
    """The diagnostic of a reference: at the reference, or at the string at `path` if that is not known."""
    help = error.help or (suggest(error.word, error.candidates, error.kind) if error.word else "")
    source, span = document.source, None
    if error.source is not None:
        source, span = error.source, span_of_mark(error.source, error.mark)
    return Diagnostic(
        message=str(error), source=source, span=span or span_of(document, path, key=key), help=help
    )

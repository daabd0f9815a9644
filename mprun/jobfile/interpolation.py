"""A document with its early references replaced: those whose values are known before the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic
from mprun.jobfile.reference_syntax import compiled
from mprun.jobfile.references import (
    LATE_KEYS,
    PLAIN_TYPES,
    Reference,
    ReferenceProblem,
    Template,
    escaped,
    has_references,
    reference_diagnostic,
    references,
    refers,
)
from mprun.jobfile.resolution import resolve
from mprun.jobfile.schema import job_schema
from mprun.jobfile.syntax.document import Mapping, Sequence

if TYPE_CHECKING:
    from mprun.jobfile.resolution import Resolver
    from mprun.jobfile.syntax.document import Document

    Path = tuple[str | int, ...]

# Keys of a job without references, or whose references need another scope than the job's.
_SEPARATELY_RESOLVED_KEYS = frozenset({"description", "$schema", "params", "env", "outputs"})

UNRESOLVED: Any = object()


def interpolate(document: Document, resolver: Resolver) -> tuple[Document, list[Path], list[Diagnostic]]:
    """The document with every reference replaced whose value is needed before the run.

    References to a matrix or an item stay, and so do the keys that are resolved when a task
    starts. A key that depends on a missing param is left out, and its path is in the list.
    Without references, the result is the same document.
    """
    if not has_references(document) or not isinstance(document.root, Mapping):
        return document, [], []
    interpolator = Interpolator(document, resolver)
    root = Mapping()
    root.marks = list(document.root.marks)
    for number, (key, node) in enumerate(document.root.items()):
        mark = document.root.marks[2 * number + 1]
        if key == "tasks" and isinstance(node, Sequence):
            root[key] = tasks = Sequence()
            tasks.marks = node.marks
            for index, task in enumerate(node):
                tasks.append(_task(interpolator, ("tasks", index), task, node.marks[index]))
        elif key == "defaults":
            root[key] = _task(interpolator, ("defaults",), node, mark)
        elif key in _SEPARATELY_RESOLVED_KEYS or not isinstance(key, str) or key.startswith("x-"):
            root[key] = node
        else:
            filled = interpolator.fill((key,), node, mark)
            root[key] = node if filled is UNRESOLVED else filled
            if filled is UNRESOLVED:
                interpolator.unresolved_paths.append((key,))
    for path in interpolator.unresolved_paths:
        _take_out(root, path)
    filled = document.with_root(root) if interpolator.changed or interpolator.unresolved_paths else document
    if interpolator.late_matrices:
        filled = filled.replace(late_matrices=frozenset(interpolator.late_matrices))
    return filled, interpolator.unresolved_paths, interpolator.diagnostics


def _task(interpolator: Interpolator, path: Path, task: Any, mark: int) -> Any:
    if not isinstance(task, Mapping):
        return task
    copy = Mapping()
    copy.marks = list(task.marks)
    for number, (key, node) in enumerate(task.items()):
        late = key in LATE_KEYS - {"foreach"} or not isinstance(key, str)
        if late or key in _SEPARATELY_RESOLVED_KEYS or key.startswith("x-"):
            copy[key] = node
            continue
        filled = interpolator.fill((*path, key), node, task.marks[2 * number + 1])
        is_late = filled is not UNRESOLVED and (*path, key) in interpolator.late_matrices
        copy[key] = node if filled is UNRESOLVED or is_late else filled
        if filled is UNRESOLVED:
            interpolator.unresolved_paths.append((*path, key))
    return copy


def _take_out(root: Any, path: Path) -> None:
    node = root
    for step in path[:-1]:
        node = node[step]
    number = list(node).index(path[-1])
    del node[path[-1]]
    del node.marks[2 * number : 2 * number + 2]


class Interpolator:
    """Replaces references in trees of one document; collects an error for each that it cannot.

    References to the roots in `own` stay as they are; so do the expected result and the items
    of a list, which are resolved later. With
    `only` a string without any of these roots is not a reference: it was filled in before. `parsed` keeps
    what was parsed for others.
    """

    def __init__(
        self,
        document: Document,
        resolver: Resolver,
        *,
        own: tuple[str, ...] = ("matrix", "item"),
        only: tuple[str, ...] = (),
        parsed: dict[tuple[str, int], Reference | Template | str] | None = None,
    ) -> None:
        self._only = only
        # Strings that were parsed, by their marks: those of a task with instances, once for each of them.
        self._parsed = parsed
        self._document = document
        self._resolver = resolver
        self._own = own
        self.changed = False
        self.diagnostics: list[Diagnostic] = []
        self.late_matrices: set[Path] = set()
        # The paths of keys that depend on a missing param.
        self.unresolved_paths: list[Path] = []

    def fill(self, path: Path, node: Any, mark: int) -> Any:
        """The tree at `path` with its references replaced; UNRESOLVED if it depends on a missing param.

        It is UNRESOLVED, too, if a reference in it is invalid.
        """
        if _is_read_later(path):
            return node
        if isinstance(node, str):
            return self._value(path, node, mark) if "${" in node else node
        if isinstance(node, Mapping):
            return self._mapping(path, node)
        if isinstance(node, Sequence):
            return self._sequence(path, node)
        return node

    def _mapping(self, path: Path, node: Mapping) -> Any:
        copy = Mapping()
        copy.marks = []
        for number, (key, child) in enumerate(node.items()):
            key_mark, mark = node.marks[2 * number : 2 * number + 2]
            filled = self.fill((*path, key), child, mark)
            name = self._string((*path, key), key, key_mark) if isinstance(key, str) and "${" in key else key
            if filled is UNRESOLVED or name is UNRESOLVED:
                return UNRESOLVED
            copy[name if isinstance(name, str) else str(name)] = filled
            copy.marks += (key_mark, mark)
        return copy

    def _sequence(self, path: Path, node: Sequence) -> Any:
        copy = Sequence()
        copy.marks = []
        for number, child in enumerate(node):
            # Most have no reference, and there may be 100,000.
            is_plain = type(child) in PLAIN_TYPES and not (type(child) is str and "${" in child)
            filled = child if is_plain else self.fill((*path, number), child, node.marks[number])
            if filled is UNRESOLVED:
                return UNRESOLVED
            copy.append(filled)
            copy.marks.append(node.marks[number])
        return copy

    def _value(self, path: Path, text: str, mark: int) -> Any:
        value = self._string(path, text, mark)
        is_filled = type(value) is str and value != text and text.startswith("${")
        if is_filled and isinstance(self._compiled(text, mark), Reference):
            return job_schema.number_for(value, path)
        return value

    def _string(self, path: Path, text: str, mark: int) -> Any:
        try:
            parsed = self._compiled(text, mark)
        except ReferenceProblem as error:
            if self._only:
                return text
            self.diagnostics.append(reference_diagnostic(self._document, path, error))
            return UNRESOLVED
        roots = {reference.root for reference in references(parsed)}
        if (self._only and roots.isdisjoint(self._only)) or not roots.isdisjoint(self._own):
            return text
        try:
            value = resolve(parsed, self._resolver)
        except ReferenceProblem as error:
            self.diagnostics.append(reference_diagnostic(self._document, path, error))
            return UNRESOLVED
        left = next(references(value), None) if refers(value) else None
        is_list = path[-1] == "foreach"
        if left is not None and left.root in ("tasks", "outputs"):
            if is_list:
                # The result of a task, which is a list.
                return text
            matrix = path[: 2 if path[0] == "defaults" else 3]
            if matrix[-1] == "matrix":
                self.late_matrices.add(matrix)
                return text
        self.changed = True
        if left is None:
            if isinstance(parsed, Reference):
                # Around other text it is a string, and there may be no reference but an escaped one.
                self._resolver.spend_nodes(value, parsed)
            return marked(_escaped(value) if is_list else value, mark)
        if left.root == "params":
            # A param that may be missing stays a reference to itself.
            return UNRESOLVED
        self._refuse(path, parsed, left)
        return UNRESOLVED

    def _compiled(self, text: str, mark: int) -> Any:
        if self._parsed is None:
            return compiled(text, "", self._document.source, mark)
        if (text, mark) not in self._parsed:
            self._parsed[text, mark] = compiled(text, "", self._document.source, mark)
        return self._parsed[text, mark]

    def _refuse(self, path: Path, parsed: Reference | Template, left: Reference) -> None:
        # What is left may be what a param or a variable refers to, which is not in this string.
        here = list(references(parsed))
        origin = left if left in here else here[0]
        message = (
            f"`{parsed}` is not available here: its value `{left}` is only known while the run is in progress"
        )
        self.diagnostics.append(reference_diagnostic(self._document, path, ReferenceProblem(message, origin)))


def _is_read_later(path: Path) -> bool:
    """Whether references at this path of a task may be resolved during the run."""
    keys = path[1:] if path[0] == "defaults" else path[2:]
    return path[0] in ("defaults", "tasks") and (
        keys[:2] == ("expect", "result") or (keys[:1] == ("foreach",) and len(keys) > 1)
    )


def _escaped(node: Any) -> Any:
    """A value as a job file would have to write it, because references in a param are literal text."""
    if isinstance(node, str):
        return escaped(node)
    if isinstance(node, dict):
        return {_escaped(key): _escaped(value) for key, value in node.items()}
    return [_escaped(item) for item in node] if isinstance(node, (list, tuple)) else node


def is_unresolved(value: object) -> bool:
    """Whether a value from `Interpolator.fill` depends on a missing param."""
    return value is UNRESOLVED


def marked(value: Any, mark: int) -> Any:
    """A plain value as a tree of the document; all its nodes have the same mark."""
    # Not a call for each value: there may be 100,000.
    if isinstance(value, dict):
        mapping = Mapping(
            {key: one if type(one) in PLAIN_TYPES else marked(one, mark) for key, one in value.items()}
        )
        mapping.marks = [mark] * (2 * len(mapping))
        return mapping
    if isinstance(value, (list, tuple)):
        sequence = Sequence([one if type(one) in PLAIN_TYPES else marked(one, mark) for one in value])
        sequence.marks = [mark] * len(sequence)
        return sequence
    return value

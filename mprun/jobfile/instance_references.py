"""Finds the references of a task to its instances: to the axes of `matrix`, or the item of `foreach`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mprun.jobfile.key_types import TYPED_KEYS
from mprun.jobfile.references import LATE_KEYS, Reference, ReferenceProblem, references
from mprun.jobfile.syntax.document import Mapping, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.diagnostics import SourceText
    from mprun.jobfile.model import Task


def instance_references(node: Any, source: SourceText, mark: int) -> Iterator[Reference]:
    """The references in a resolved tree to an instance; everything else that looks like one is literal."""
    if isinstance(node, str) and "${" in node:
        # Many tasks with instances have none.
        from mprun.jobfile.reference_syntax import compiled

        with contextlib.suppress(ReferenceProblem):
            yield from filter(_is_of_instance, references([compiled(node, "", source, mark)]))
    elif isinstance(node, Mapping):
        for number, (key, value) in enumerate(node.items()):
            yield from instance_references(key, source, node.marks[2 * number])
            yield from instance_references(value, source, node.marks[2 * number + 1])
    elif isinstance(node, Sequence):
        for item, item_mark in zip(node, node.marks, strict=True):
            yield from instance_references(item, source, item_mark)


def axes_of(matrix: Any) -> set[str]:
    """The names that a matrix gives values to."""
    if not isinstance(matrix, dict):
        return set()
    entries = matrix.get("include") or ()
    return {*matrix, *(name for entry in entries for name in entry)} - {"include", "exclude"}


def refers_into_instance(task: Task) -> bool:
    """Whether a task refers to a part of a value of its instances, which some of them may lack."""
    nodes = [getattr(task, key, None) for key in LATE_KEYS]
    return any(_is_of_instance(one) and one.path for one in references(nodes))


def keys_typed_by_instance(task: Task) -> Iterator[str]:
    """The keys that are one reference to an instance, whose value may have another type in each."""
    for key in TYPED_KEYS:
        node = getattr(task, key)
        script = node[2] if key == "command" and isinstance(node, tuple) and len(node) == 3 else node
        if isinstance(script, Reference) and _is_of_instance(script):
            yield key


def _is_of_instance(reference: Reference) -> bool:
    return reference.root in ("matrix", "item")

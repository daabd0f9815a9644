"""Compares the version of mprun with what a job file requires: `mprun >= 0.3`, `mprun >= 0.3, < 2`."""

from __future__ import annotations

import operator
import re
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.errors import JobFileError
from mprun.jobfile.syntax.document import span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.jobfile.syntax.document import Document

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
# As the pattern of `requires` in `schemas/job.schema.json` has them.
_PART = re.compile(r"(<=|<|>=|>|==|!=) *([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})")
_NAME = "mprun"


def refuse_other_version(document: Document, version: str = "") -> None:
    """Raise JobFileError if a job file requires another version of mprun; takes any tree.

    It comes before all other checks, because a file for a newer version may have keys that this one does
    not know. A requirement of another form is left to the schema.
    """
    # The package itself imports this one.
    version = version or sys.modules["mprun"].__version__
    root: Any = document.root
    required = root.get("requires")
    if not isinstance(required, str) or is_satisfied(required, version):
        return
    message = f"this file requires {quote(required)}, but this is mprun {version}"
    span = span_of(document, ("requires",))
    help = "install such a version, or use a file for this one"
    raise JobFileError([Diagnostic(message=message, source=document.source, span=span, help=help)])


def is_satisfied(required: str, version: str) -> bool:
    """Whether a version is one of those required; also if the requirement is of another form.

    Of the version only the numbers count: 0.3rc1 and 0.3.dev2 are 0.3, which has what they have.
    """
    ours = _numbers(version)
    return all(compare(_padded(ours, theirs), _padded(theirs, ours)) for compare, theirs in _parts(required))


def _parts(required: str) -> Iterator[tuple[Callable[[Any, Any], bool], tuple[int, ...]]]:
    name, rest = required[: len(_NAME)], required[len(_NAME) :]
    found = [_PART.fullmatch(part.strip(" ")) for part in rest.split(",")]
    if name != _NAME or None in found:
        return
    for part in found:
        if part is not None:
            yield _COMPARISONS[part[1]], _numbers(part[2])


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _padded(numbers: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers, with zeros behind them if the other version has more: 1 is 1.0."""
    return numbers + (0,) * (len(other) - len(numbers))

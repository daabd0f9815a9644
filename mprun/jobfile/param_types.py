"""Params as a job file declares them: their five types, how a text becomes one, which values are valid."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean, quote
from mprun.frozen import Frozen
from mprun.jobfile.patterns import may_take_long
from mprun.jobfile.references import Reference, Template
from mprun.jobfile.resolution import as_text
from mprun.jobfile.syntax.document import plain
from mprun.jobfile.syntax.scalars import OutOfRange, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORDS = {
    "string": "must be a string",
    "integer": "must be an integer",
    "number": "must be a number",
    "boolean": "must be `true` or `false`",
    "list": "must be a list",
}
# Types that a text can be parsed as, and is not already.
KINDS = frozenset(_WORDS) - {"string"}
_LIST_TEXT = "must be a list such as `a,b` or `[a, b]`"
# The types as the schema has them, for `hint_for`.
_SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean", "title": "flag"},
    "list": {"type": "array"},
}
# Choices that a message lists.
_MAX_SHOWN_CHOICES = 10
# Among more choices, a suggestion would take too long.
MAX_CHOICES = 1000


class Param(Frozen):
    """A param as the job file declares it; `kind` is one of its five types.

    `default`, `enum` and `pattern` are None if they are not declared. `enum` and `pattern`
    apply to each item of a list.
    """

    name: str
    kind: str
    required: bool = False
    secret: bool = False
    default: Any = None
    enum: tuple[Any, ...] | None = None
    pattern: str | None = None


def declare(name: str, raw: Any) -> Param:
    """The declaration of a param: a plain value is its default, and has its type."""
    if not isinstance(raw, dict):
        return Param(name=name, kind=kind_of([raw]), default=plain(raw))
    default, enum = raw.get("default"), raw.get("enum")
    kind = raw.get("type") or kind_of([default] if isinstance(default, list) else [default, *(enum or ())])
    return Param(
        name=name,
        kind=kind,
        required=bool(raw.get("required")),
        secret=bool(raw.get("secret")),
        default=plain(default),
        enum=None if enum is None else tuple(enum),
        pattern=raw.get("pattern"),
    )


class ParamError(Exception):
    """A value that is invalid for its param: what it must be, and the value or item itself.

    `kind` is the type if it is of another one, `choices` are those that it is not among.
    """

    def __init__(self, must: str, value: Any, *, kind: str = "", choices: Sequence[str] = ()) -> None:
        super().__init__(must)
        self.must = must
        self.value = value
        self._kind = kind
        self._choices = choices

    def help(self, written: str = "", of_file: bool = False) -> str:
        """How to fix it; `written` is the value's text in the file, if it has one."""
        if self._choices:
            return did_you_mean(as_text(self.value), self._choices[:MAX_CHOICES])
        if of_file and self._kind:
            # Most values are valid.
            from mprun.jobfile.schema.hints import hint_for

            return hint_for("type", _SCHEMAS[self._kind], self.value, written)
        return ""


def kind_of(values: Sequence[Any]) -> str:
    """The common type of the values; `string` if they have none."""
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) == 1:
        return kinds.pop()
    return "number" if kinds == {"integer", "number"} else "string"


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else _KINDS.get(type(value), "string")


_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number"}


def require_valid(
    kind: str, value: Any, enum: Sequence[Any] | None = None, pattern: str | None = None
) -> None:
    """Raise ParamError for a value that is not of the type, not in `enum`, or that `pattern` does not match.

    `enum` and `pattern` apply to each item of a list. References are not checked. Raises MatchError if
    it takes too long to match the pattern.
    """
    if isinstance(value, (Reference, Template)):
        return
    if not _is_type(kind, value):
        raise ParamError(_WORDS[kind], value, kind=kind)
    per_item = kind == "list"
    for item in value if per_item else (value,):
        if isinstance(item, (Reference, Template)):
            continue
        if enum is not None and not any(_same(item, choice) for choice in enum):
            raise _not_among(item, enum, "must have only items from " if per_item else "must be one of ")
        if pattern is not None and not _matches(pattern, as_text(item)):
            must = "must have only items that match" if per_item else "must match"
            raise ParamError(f"{must} {quote(pattern)}", item)


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches all of a text. Raises MatchError."""
    if not may_take_long(pattern, len(text)):
        return re.fullmatch(pattern, text) is not None
    # Few patterns may.
    from mprun.jobfile.matcher import fullmatch

    return fullmatch(pattern, text)


def _is_type(kind: str, value: Any) -> bool:
    if kind == "number":
        # `isfinite` fails on an int of thousands of digits; JSON has no infinity and no NaN.
        return type(value) is int or (type(value) is float and isfinite(value))
    return isinstance(value, str) if kind == "string" else _kind(value) == kind


def _same(value: Any, choice: Any) -> bool:
    """Whether two values are the same in YAML, where true is not 1."""
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _not_among(value: Any, enum: Sequence[Any], must: str) -> ParamError:
    choices = [as_text(choice) for choice in enum]
    shown = ", ".join(quote(choice) for choice in choices[:_MAX_SHOWN_CHOICES])
    return ParamError(
        must + shown + (", …" if len(choices) > _MAX_SHOWN_CHOICES else ""), value, choices=choices
    )


def parse(kind: str, text: str) -> Any:
    """Parse a text as this type, by the scalars of YAML 1.2. Raises ParamError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # From a command line or an environment in another encoding; a record could not contain it.
        raise ParamError("must be UTF-8", text) from None
    if kind == "string":
        return text
    if kind == "list":
        return list(_items(text))
    try:
        value = resolve(text.strip())
    except OutOfRange:
        value = None
    if not _is_type(kind, value):
        raise ParamError(_WORDS[kind], text)
    return value


def typed(kind: str, value: Any) -> Any:
    """A value that came from a reference: a text is parsed as this type. Raises ParamError."""
    return parse(kind, value) if isinstance(value, str) and kind in KINDS else value


# In double or single quotes, or up to the next comma; then a comma, or the end. Not compiled
# before there is a list.
_ITEM = r"""\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"\s*|'([^']*(?:''[^']*)*)'\s*|([^\s,"'][^,]*)?)(?:,|\Z)"""


def _items(text: str) -> Iterator[Any]:
    """The items of `[a, b]`, or of `a,b`; as in YAML, a comma may follow the last."""
    body = text.strip()
    in_brackets = body.startswith("[")
    if in_brackets:
        if not body.endswith("]"):
            raise ParamError(_LIST_TEXT, text)
        body = body[1:-1].strip()
    at, pattern = 0, re.compile(_ITEM, re.DOTALL)
    while at < len(body):
        match = pattern.match(body, at)
        if match is None:
            raise ParamError(_LIST_TEXT, text)
        at = match.end()
        yield _item(match, text, in_brackets)


def _item(match: re.Match[str], text: str, in_brackets: bool) -> Any:
    double, single, bare = match.groups()
    if single is not None:
        return single.replace("''", "'")
    try:
        if double is not None:
            # Few params have one.
            import json

            return json.loads(f'"{double}"', strict=False)
        value = resolve((bare or "").strip())
    except ValueError:  # OutOfRange is one
        raise ParamError(_LIST_TEXT, text) from None
    nested = in_brackets and isinstance(value, str) and any(sign in value for sign in "[]{}")
    if not bare or nested or (isinstance(value, float) and not isfinite(value)):
        raise ParamError(_LIST_TEXT, text)
    return value

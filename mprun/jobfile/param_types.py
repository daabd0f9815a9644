"""The five types of params: how a text becomes a value of one, and whether a value is one."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean, quote
from mprun.jobfile.references import Reference, Template, as_text
from mprun.jobfile.schema.hints import hint_for
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
_LIST_TEXT = "must be a list such as `a,b` or `[a, b]`"
# What `hint_for` knows the types by.
_SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean", "title": "flag"},
    "list": {"type": "array"},
}
# A message shows so many choices; the file has the others.
_MAX_SHOWN_CHOICES = 10
# Among more than this, the one that was meant is not looked for: it would take longer than it helps.
MAX_CHOICES = 1000


class ParamError(Exception):
    """A value that its param may not have: what it must be, and the value or item that is not.

    `kind` is given where the type is wrong, `choices` where the value is none of them.
    """

    def __init__(self, must: str, value: Any, *, kind: str = "", choices: Sequence[str] = ()) -> None:
        super().__init__(must)
        self.must = must
        self.value = value
        self._kind = kind
        self._choices = choices

    def help(self, written: str = "", of_file: bool = False) -> str:
        """What would mend it; `standing` is the value's text in the file, where it has one."""
        if self._choices:
            return did_you_mean(as_text(self.value), self._choices[:MAX_CHOICES])
        if of_file and self._kind:
            return hint_for("type", _SCHEMAS[self._kind], self.value, written)
        return ""


def kind_of(values: Sequence[Any]) -> str:
    """The type that all of the values have; `string` where they have none in common, or are null."""
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

    Of a list they judge each item; what is still a reference may be anything.
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
        if pattern is not None and re.fullmatch(pattern, as_text(item)) is None:
            must = "must have only items that match" if per_item else "must match"
            raise ParamError(f"{must} {quote(pattern)}", item)


def _is_type(kind: str, value: Any) -> bool:
    if kind == "number":
        # An int of thousands of digits is beyond `isfinite`; what is not finite is beyond JSON.
        return type(value) is int or (type(value) is float and isfinite(value))
    return isinstance(value, str) if kind == "string" else _kind(value) == kind


def _same(value: Any, choice: Any) -> bool:
    """Whether they are the same value: true is not 1, as in YAML and unlike Python."""
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _not_among(value: Any, enum: Sequence[Any], must: str) -> ParamError:
    choices = [as_text(choice) for choice in enum]
    shown = ", ".join(quote(choice) for choice in choices[:_MAX_SHOWN_CHOICES])
    return ParamError(
        must + shown + (", …" if len(choices) > _MAX_SHOWN_CHOICES else ""), value, choices=choices
    )


def parse(kind: str, text: str) -> Any:
    """The value that a text has as this type, by the scalars of YAML 1.2. Raises ParamError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # From a command line or an environment in another encoding; no record could hold it.
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


# Quoted one way or the other, or up to the next comma; then a comma, or the end.
_ITEM = re.compile(
    r"""\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"\s*|'([^']*(?:''[^']*)*)'\s*|([^\s,"'][^,]*)?)(?:,|\Z)""", re.DOTALL
)


def _items(text: str) -> Iterator[Any]:
    """The items of `[a, b]`, or of `a,b`; as in YAML, a comma may stand behind the last."""
    body = text.strip()
    in_brackets = body.startswith("[")
    if in_brackets:
        if not body.endswith("]"):
            raise ParamError(_LIST_TEXT, text)
        body = body[1:-1].strip()
    at = 0
    while at < len(body):
        match = _ITEM.match(body, at)
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
            return json.loads(f'"{double}"', strict=False)
        value = resolve((bare or "").strip())
    except ValueError:  # OutOfRange is one
        raise ParamError(_LIST_TEXT, text) from None
    nested = in_brackets and isinstance(value, str) and any(sign in value for sign in "[]{}")
    if not bare or nested or (isinstance(value, float) and not isfinite(value)):
        raise ParamError(_LIST_TEXT, text)
    return value

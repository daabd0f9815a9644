"""Finds what violates the job schema in a value that the fast validator has refused, and explains it.

What is valid is passed over, so that one mistake in a file of 8 MiB is found at once.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from mprun.jobfile.schema.explain import Explainer
from mprun.jobfile.schema.fast_validator import definition, distinct, isfinite_number, parts_for_key
from mprun.jobfile.schema.patterns import search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.diagnostics import Diagnostic, SourceText, Span
    from mprun.jobfile.schema.fast_validator import FastValidator

    Path = tuple[str | int, ...]

# A file of a million nodes may have a million errors, which no one would read.
MAX_DIAGNOSTICS = 100

_NUMBER = (int, float)


class Violation(NamedTuple):
    """A keyword of a part of the schema that the value at a path, or a key of it, does not conform to."""

    path: Path
    keyword: str
    schema: dict[str, Any]
    value: Any
    in_key: bool


def explained(
    validator: FastValidator,
    part: dict[str, Any],
    value: object,
    path: Path,
    source: SourceText,
    span_at: Callable[[Path, bool], Span],
    task_name: Callable[[int], str],
    of_keys: bool = False,
) -> list[Diagnostic]:
    """The diagnostics of an invalid value at `path`, which must conform to a part of the schema.

    With `of_keys`, of unknown and missing keys at the root alone.
    """
    explainer = Explainer(validator.schema, source, span_at, task_name)
    for found in islice(Violations(validator).of(part, value, path), MAX_DIAGNOSTICS):
        at = found.path
        if not of_keys or not at or (len(at) == 1 and found.keyword == "additionalProperties"):
            explainer.add(at, found.keyword, found.schema, found.value, found.in_key)
    return explainer.diagnostics()


class Violations:
    """Looks for violations of the schema of a fast validator, keyword by keyword in its order."""

    def __init__(self, validator: FastValidator) -> None:
        self._validator = validator
        self._below: dict[str, Callable[[dict[str, Any], Any, Path, bool], Iterator[Violation]]] = {
            "allOf": self._all_of,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "propertyNames": self._names,
            "items": self._items,
        }

    def of(self, schema: Any, value: Any, path: Path, in_key: bool = False) -> Iterator[Violation]:
        """The violations by a value at a path; `in_key`: it is a key of the mapping there."""
        if schema is False:
            yield Violation(path, "False", {}, value, in_key)
            return
        if schema is True:
            return
        if "$ref" in schema:
            yield from self.of(definition(self._validator.schema, schema["$ref"]), value, path, in_key)
            return
        for keyword in schema:
            if keyword in self._below:
                yield from self._below[keyword](schema, value, path, in_key)
            elif keyword == "required":
                missing = [key for key in schema["required"] if isinstance(value, dict) and key not in value]
                yield from (Violation(path, keyword, schema, value, in_key) for _ in missing)
            elif self._breaks(keyword, schema, value):
                yield Violation(path, keyword, schema, value, in_key)

    def _breaks(self, keyword: str, schema: dict[str, Any], value: Any) -> bool:
        """Whether a value alone, without what is below it, violates a keyword."""
        if keyword == "type":
            types = schema["type"]
            return not any(_is_type(value, name) for name in ([types] if isinstance(types, str) else types))
        if keyword == "enum":
            return not any(type(value) is type(choice) and value == choice for choice in schema["enum"])
        if keyword == "not":
            return self._validator.test(schema["not"])(value)
        if keyword == "oneOf":
            return sum(self._validator.test(part)(value) for part in schema["oneOf"]) != 1
        check = _LIMITS.get(keyword)
        return check is not None and _is_type(value, check[0]) and not check[1](value, schema[keyword])

    def _all_of(self, schema: dict[str, Any], value: Any, path: Path, in_key: bool) -> Iterator[Violation]:
        for part in schema["allOf"]:
            yield from self.of(part, value, path, in_key)

    def _items(self, schema: dict[str, Any], value: Any, path: Path, in_key: bool) -> Iterator[Violation]:
        part = schema["items"]
        test = self._validator.test(part)
        values = value if isinstance(value, list) else []
        # Aliases may repeat an item, which is tested once; after a hundred no one would read more.
        bad = set(islice((one for one, item in distinct(values).items() if not test(item)), MAX_DIAGNOSTICS))
        for number, item in enumerate(values) if bad else ():
            if id(item) in bad:
                yield from self.of(part, item, (*path, number), in_key)

    def _properties(
        self, schema: dict[str, Any], value: Any, path: Path, in_key: bool
    ) -> Iterator[Violation]:
        for key, part in schema["properties"].items() if isinstance(value, dict) else ():
            # The items of a collection are tested one by one later: not twice, as they may be many.
            if key in value and (
                isinstance(value[key], (list, dict)) or not self._validator.test(part)(value[key])
            ):
                yield from self.of(part, value[key], (*path, key), in_key)

    def _additional(
        self, schema: dict[str, Any], value: Any, path: Path, in_key: bool
    ) -> Iterator[Violation]:
        part = schema["additionalProperties"]
        for key in value if isinstance(value, dict) else ():
            if parts_for_key(schema, key) != [part]:
                continue
            if part is False:
                yield Violation((*path, key), "additionalProperties", schema, value[key], in_key)
            elif not self._validator.test(part)(value[key]):
                yield from self.of(part, value[key], (*path, key), in_key)

    def _names(self, schema: dict[str, Any], value: Any, path: Path, in_key: bool) -> Iterator[Violation]:
        part = schema["propertyNames"]
        test = self._validator.test(part)
        for key in value if isinstance(value, dict) else ():
            if not test(key):
                yield from self.of(part, key, path, True)


def _is_type(value: Any, name: str) -> bool:
    if name == "number":
        return isinstance(value, _NUMBER) and not isinstance(value, bool) and isfinite_number(value)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _TYPES[name])


_TYPES: dict[str, type] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}

# The keywords that limit values of one type, and what these must conform to.
_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minProperties": ("object", lambda value, least: len(value) >= least),
    "minItems": ("array", lambda value, least: len(value) >= least),
    "minLength": ("string", lambda value, least: len(value) >= least),
    "maxLength": ("string", lambda value, most: len(value) <= most),
    "pattern": ("string", lambda value, pattern: bool(search(pattern)(value))),
    "minimum": ("number", lambda value, least: value >= least),
    "maximum": ("number", lambda value, most: value <= most),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound),
}

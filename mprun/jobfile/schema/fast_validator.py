"""Validates a tree against a JSON Schema fast; `explain` says what is wrong.

It supports only the keywords of `schemas/job.schema.json`; a test checks that with
`unknown_keywords`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.schema.patterns import search
from mprun.jobfile.syntax.composer import Mapping, Sequence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Test = Callable[[Any], bool]

_INFINITY = float("inf")
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (Mapping, dict),
    "array": (Sequence, list),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}
_ANNOTATIONS = {
    "$schema", "$id", "title", "description", "default", "examples", "errorMessage", "definitions",
}  # fmt: skip
_KEYWORDS = {
    "$ref", "type", "enum", "not", "oneOf", "allOf", "required", "properties", "patternProperties",
    "additionalProperties", "propertyNames", "minProperties", "items", "minItems", "pattern",
    "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
}  # fmt: skip
# Keywords that apply to the entries of a mapping, and not only to its set of keys.
_ENTRY_KEYWORDS = {
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "minProperties",
}


class FastValidator:
    """A schema, whose parts are compiled when a value first needs them."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self._tests: dict[int, Test] = {}

    def is_valid(self, value: object) -> bool:
        """Whether the value conforms to the schema."""
        return self.test(self.schema)(value)

    def test(self, schema: Any) -> Test:
        """The test of a part of the schema."""
        test = self._tests.get(id(schema))
        if test is None:
            test = self._tests[id(schema)] = self._compiled(schema)
        return test

    def _compiled(self, schema: Any) -> Test:
        if schema is False:
            return _no
        if not schema or schema is True:
            return _yes
        if "$ref" in schema:
            return self.test(definition(self.schema, schema["$ref"]))
        by_type = _ByType(self, schema)
        return lambda value: by_type[type(value)](value)

    def tests_for(self, schema: dict[str, Any], python_type: type) -> Iterator[Test]:
        """The tests that a value of this type must pass; none if the type is not allowed."""
        if "enum" in schema:
            choices = schema["enum"]
            yield lambda value: any(type(value) is type(choice) and value == choice for choice in choices)
        if "not" in schema:
            forbidden = self.test(schema["not"])
            yield lambda value: not forbidden(value)
        if "oneOf" in schema:
            yield self._one_of(schema["oneOf"])
        parts = schema.get("allOf", ())
        if issubclass(python_type, dict):
            # A task has ten of these, and there may be 100,000 tasks.
            together = [frozenset(part["not"]["required"]) for part in parts if _forbids_keys(part)]
            if together:
                yield lambda value: not any(keys <= value.keys() for keys in together)
            parts = [part for part in parts if not _forbids_keys(part)]
        for part in parts:
            yield self.test(part)
        if issubclass(python_type, dict):
            yield self._of_mapping(schema)
        elif issubclass(python_type, list):
            yield self._of_list(schema)
        elif python_type is str:
            yield from _of_string(schema)
        elif python_type is not bool and issubclass(python_type, (int, float)):
            yield from _of_number(schema)

    def _one_of(self, parts: list[Any]) -> Test:
        tests = [self.test(part) for part in parts]
        return lambda value: sum(test(value) for test in tests) == 1

    def _of_list(self, schema: dict[str, Any]) -> Test:
        least, item = schema.get("minItems", 0), self.test(schema.get("items", True))

        def test(value: list[Any]) -> bool:
            return len(value) >= least and (item is _yes or all(map(item, distinct(value).values())))

        return test

    def _of_mapping(self, schema: dict[str, Any]) -> Test:
        required = frozenset(schema.get("required", ()))
        if not schema.keys() & _ENTRY_KEYWORDS:
            return lambda value: required <= value.keys()
        least = schema.get("minProperties", 0)
        name_test = self.test(schema.get("propertyNames", True))
        known: dict[str, Test] = {}
        of_key = self._of_key if "patternProperties" in schema else self._of_plain_key

        def test(value: dict[Any, Any]) -> bool:
            if not required <= value.keys() or len(value) < least:
                return False
            for key, below in value.items():
                key_test = known.get(key) or of_key(schema, key, known)
                if not key_test(below) or not name_test(key):
                    return False
            return True

        return test

    def _of_key(self, schema: dict[str, Any], key: Any, known: dict[str, Test]) -> Test:
        test = _all([self.test(part) for part in parts_for_key(schema, key)])
        if key in schema.get("properties", ()):
            known[key] = test
        return test

    def _of_plain_key(self, schema: dict[str, Any], key: Any, known: dict[str, Test]) -> Test:
        if key in schema.get("properties", ()):
            return self._of_key(schema, key, known)
        return self.test(schema.get("additionalProperties", True))


class _ByType(dict[type, "Test"]):
    """The tests of one schema by type of value, compiled for the first value of each."""

    def __init__(self, checker: FastValidator, schema: dict[str, Any]) -> None:
        self._validator = checker
        self._schema = schema

    def __missing__(self, python_type: type) -> Test:
        test = self._made(python_type)
        self[python_type] = test
        return test

    def _made(self, python_type: type) -> Test:
        types = self._schema.get("type")
        if types is not None:
            names = [types] if isinstance(types, str) else types
            if not any(python_type in _PYTHON_TYPES[name] for name in names):
                return _no
        return _all(list(self._validator.tests_for(self._schema, python_type)))


def distinct(items: list[Any]) -> dict[int, Any]:
    """The objects of a list by id: an object that aliases repeat appears once."""
    return dict(zip(map(id, items), items, strict=True))


def parts_for_key(schema: dict[str, Any], key: Any) -> list[Any]:
    """The subschemas for the value of a key; `[False]` where the key is unknown.

    A key that is not a string matches no pattern of a schema, because JSON has no such key.
    """
    parts = [schema["properties"][key]] if key in schema.get("properties", ()) else []
    if isinstance(key, str):
        patterns = schema.get("patternProperties", {})
        parts += [part for pattern, part in patterns.items() if search(pattern)(key)]
    return parts or [schema.get("additionalProperties", True)]


def definition(schema: dict[str, Any], reference: str) -> Any:
    """The part of the schema that a local `$ref` names."""
    part: Any = schema
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def unknown_keywords(schema: Any) -> set[str]:
    """The keywords of a schema that this module would ignore."""
    if not isinstance(schema, dict):
        return set()
    found = schema.keys() - _KEYWORDS - _ANNOTATIONS
    for keyword in ("properties", "patternProperties", "definitions"):
        for part in schema.get(keyword, {}).values():
            found |= unknown_keywords(part)
    for keyword in ("items", "additionalProperties", "propertyNames", "not"):
        found |= unknown_keywords(schema.get(keyword))
    for keyword in ("oneOf", "allOf"):
        for part in schema.get(keyword, ()):
            found |= unknown_keywords(part)
    return found


def _forbids_keys(part: dict[str, Any]) -> bool:
    """Whether a part of the schema is that a mapping has not all of some keys."""
    return part.keys() - _ANNOTATIONS == {"not"} and part["not"] == {
        "type": "object",
        "required": part["not"].get("required"),
    }


def _of_string(schema: dict[str, Any]) -> Iterator[Test]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least:
        yield lambda value: len(value) >= least
    if most is not None:
        yield lambda value: len(value) <= most
    if "pattern" in schema:
        found = search(schema["pattern"])
        yield lambda value: bool(found(value))


def _of_number(schema: dict[str, Any]) -> Iterator[Test]:
    least, most, above = schema.get("minimum"), schema.get("maximum"), schema.get("exclusiveMinimum")
    if "type" in schema:
        yield isfinite_number
    if least is not None:
        yield lambda value: value >= least
    if above is not None:
        yield lambda value: value > above
    if most is not None:
        yield lambda value: value <= most


def isfinite_number(value: float) -> bool:
    """Whether JSON has the number."""
    return isinstance(value, int) or -_INFINITY < value < _INFINITY


def _all(tests: list[Test]) -> Test:
    tests = [test for test in tests if test is not _yes]
    if len(tests) < 2:
        return tests[0] if tests else _yes

    def test_all(value: object) -> bool:
        for test in tests:  # noqa: SIM110 - a generator for `all` costs more than the tests
            if not test(value):
                return False
        return True

    return test_all


def _yes(value: object) -> bool:
    return True


def _no(value: object) -> bool:
    return False

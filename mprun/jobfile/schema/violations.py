"""Explains what violates the job schema in a value that the fast validator has refused.

jsonschema finds the violations. Its import takes a tenth of a second, so only wrong files need this module.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema

from mprun.jobfile.schema.explain import Explainer
from mprun.jobfile.schema.fast_validator import distinct, isfinite_number, parts_for_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.diagnostics import Diagnostic, SourceText, Span
    from mprun.jobfile.schema.fast_validator import FastValidator

    Path = tuple[str | int, ...]

# A file of a million nodes may have a million errors, which no one would read.
MAX_DIAGNOSTICS = 100


def explained(
    checker: FastValidator,
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
    explainer = Explainer(checker.schema, source, span_at, task_name)
    for error in islice(violations(checker, part, value), MAX_DIAGNOSTICS):
        schema = error.schema if isinstance(error.schema, dict) else {}
        in_key = "propertyNames" in error.absolute_schema_path
        at = (*path, *error.absolute_path)
        if not of_keys or not at or (len(at) == 1 and error.validator == "additionalProperties"):
            explainer.add(at, str(error.validator), schema, error.instance, in_key)
    return explainer.diagnostics()


def violations(checker: FastValidator, part: dict[str, Any], value: object) -> Iterator[Any]:
    """The errors of jsonschema, where the value violates a part of the schema of a fast validator."""
    base = jsonschema.Draft7Validator
    types = base.TYPE_CHECKER.redefine("number", _is_number).redefine("integer", _is_integer)
    extend: Any = jsonschema.validators.extend
    rules = _Rules(checker, jsonschema.ValidationError).by_keyword()
    validator = extend(base, rules, type_checker=types)(checker.schema)
    # From a schema with the key `$schema`, `descend` would use the class without our rules.
    yield from validator.iter_errors(value) if part is checker.schema else validator.descend(value, part)


class _Rules:
    """Keywords that pass over what is valid, so that one mistake in a file of 8 MiB is found at once.

    Keys that are not strings, which JSON does not have, do not crash them. `error` is the
    class of jsonschema's errors.
    """

    def __init__(self, checker: FastValidator, error: Any) -> None:
        self._checker = checker
        self._error = error

    def by_keyword(self) -> dict[str, Any]:
        """What `jsonschema.validators.extend` takes."""
        return {
            "items": self._items,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "patternProperties": _free,
            "propertyNames": self._names,
        }

    def _items(self, validator: Any, part: Any, value: Any, parent: Any) -> Iterator[Any]:
        test = self._checker.test(part)
        values = value if isinstance(value, list) else []
        # Aliases may repeat an item, which is tested once; after a hundred no one would read more.
        bad = set(islice((one for one, item in distinct(values).items() if not test(item)), MAX_DIAGNOSTICS))
        for number, item in enumerate(values) if bad else ():
            if id(item) in bad:
                yield from validator.descend(item, part, path=number)

    def _properties(self, validator: Any, parts: Any, value: Any, parent: Any) -> Iterator[Any]:
        for key in parts if isinstance(value, dict) else ():
            # The items of a collection are tested one by one later: not twice, as they may be many.
            if key in value and (
                isinstance(value[key], (list, dict)) or not self._checker.test(parts[key])(value[key])
            ):
                yield from validator.descend(value[key], parts[key], path=key, schema_path=key)

    def _additional(self, validator: Any, part: Any, value: Any, parent: Any) -> Iterator[Any]:
        for key in value if isinstance(value, dict) else ():
            if parts_for_key(parent, key) != [part]:
                continue
            if part is False:
                yield self._error("unknown key", path=[key], instance=value[key])
            elif not self._checker.test(part)(value[key]):
                yield from validator.descend(value[key], part, path=key)

    def _names(self, validator: Any, part: Any, value: Any, parent: Any) -> Iterator[Any]:
        test = self._checker.test(part)
        for key in value if isinstance(value, dict) else ():
            if not test(key):
                yield from validator.descend(key, part)


def _free(validator: Any, parts: Any, value: Any, parent: Any) -> Iterator[Any]:
    """`x-` keys are the user's own."""
    return iter(())


def _is_number(checker: object, value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite_number(value)


def _is_integer(checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

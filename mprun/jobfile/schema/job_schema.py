"""Validates job files against `schemas/job.schema.json`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.jobfile.schema.fast_validator import FastValidator, definition, parts_for_key
from mprun.jobfile.syntax.document import span_below, span_of
from mprun.jobfile.syntax.scalars import OutOfRange
from mprun.jobfile.syntax.scalars import resolve as resolve_scalar
from mprun.lean_json import decode

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic, SourceText, Span
    from mprun.jobfile.syntax.document import Document, Mapping

    Path = tuple[str | int, ...]

# A file of a million nodes may have a million errors, which no one would read.
MAX_DIAGNOSTICS = 100

# The package: three directories up from this file.
_PACKAGE = os.path.normpath(os.path.join(os.path.abspath(__file__), *[os.pardir] * 3))
_ONE_TASK: dict[str, Any] = {"$ref": "#/definitions/task"}
_validators: dict[str, FastValidator] = {}
_schemas: dict[str, dict[str, Any]] = {}


def schema_text(name: str = "job") -> str:
    """The text of a schema that mprun ships: `job`, `event`, or of what a command prints."""
    file = f"{name}.schema.json"
    for folder in (
        os.path.join(_PACKAGE, "schemas"),
        os.path.join(os.path.dirname(_PACKAGE), "schemas"),
    ):
        try:
            with open(os.path.join(folder, file), encoding="utf-8") as opened:
                return opened.read()
        except FileNotFoundError:
            continue
    raise FileNotFoundError(f"{file} is neither in {_PACKAGE} nor beside it: install mprun again")


def check(document: Document, *, of_keys: bool = False) -> list[Diagnostic]:
    """The violations of the schema in a job file, at most a hundred, sorted by position.

    With `of_keys`, those of its root and of the keys there: no message shows a value.
    """
    root: Any = document.root
    if _validator("job").is_valid(root):
        return []

    def span_at(path: Path, key: bool) -> Span:
        return span_of(document, path, key)

    def task_name(number: int) -> str:
        task = root["tasks"][number]
        name = task.get("name") if isinstance(task, dict) else None
        return name if isinstance(name, str) and name else f"Process-{number + 1}"

    # The file is wrong, so a run does not start, and the import may take its time.
    from mprun.jobfile.schema.violations import explained

    return explained(
        _validator("job"), _schema("job"), root, (), document.source, span_at, task_name, of_keys
    )


def check_task(keys: Mapping, number: int, name: str, source: SourceText, mark: int) -> list[Diagnostic]:
    """The same for some keys of task `number` (from 0), whose name is `name` and whose mark is `mark`."""
    if _validator("job").test(_ONE_TASK)(keys):
        return []

    def span_at(path: Path, key: bool) -> Span:
        return span_below(source, keys, mark, path[2:], key)

    from mprun.jobfile.schema.violations import explained

    return explained(_validator("job"), _ONE_TASK, keys, ("tasks", number), source, span_at, lambda _: name)


def is_valid(path: Path, value: object) -> bool:
    """Whether a value conforms to the part of the schema for a path."""
    return _validator("job").test(_part_at(path))(value)


def number_for(text: str, path: Path) -> Any:
    """The number or boolean that a text is, if the schema wants one at a path; else the text.

    References to texts (variables, params) become values in this way.
    """
    part = _part_at(path)
    wanted = part.get("type", ())
    wanted = {wanted} if isinstance(wanted, str) else set(wanted)
    if wanted.isdisjoint(_SCALAR_TYPES) or _validator("job").test(part)(text):
        return text
    try:
        value = resolve_scalar(text.strip())
    except OutOfRange:
        return text
    return text if wanted.isdisjoint(_TYPES_OF.get(type(value), ())) else value


_SCALAR_TYPES = frozenset({"integer", "number", "boolean"})
_TYPES_OF = {bool: ("boolean",), int: ("integer", "number"), float: ("number",)}


def _part_at(path: Path) -> dict[str, Any]:
    """The part of the schema for the value at a path; {} if there is none."""
    part: Any = _schema("job")
    for step in path:
        part = part.get("items", {}) if isinstance(step, int) else parts_for_key(part, step)[0]
        if not isinstance(part, dict):
            return {}
        # What describes a key, and names the part for its values.
        while "$ref" in part or ("type" not in part and len(part.get("allOf", ())) == 1):
            part = definition(_schema("job"), part["$ref"]) if "$ref" in part else part["allOf"][0]
    return part  # type: ignore[no-any-return]


def task_keys() -> frozenset[str]:
    """Every key that a task may have."""
    return frozenset(_schema("job")["definitions"]["task"]["properties"])


def _schema(name: str) -> dict[str, Any]:
    if name not in _schemas:
        _schemas[name] = decode(schema_text(name))
    return _schemas[name]


def _validator(name: str) -> FastValidator:
    if name not in _validators:
        _validators[name] = FastValidator(_schema(name))
    return _validators[name]

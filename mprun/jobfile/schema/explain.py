"""Explains violations of the schema in the user's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, closest, did_you_mean, quote
from mprun.jobfile.schema.fast_validator import definition
from mprun.jobfile.schema.hints import hint_for, is_zero_limit
from mprun.jobfile.schema.synonyms import SYNONYMS
from mprun.jobfile.syntax.scalars import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mprun.diagnostics import SourceText, Span

    Path = tuple[str | int, ...]

# Characters that an error shows: together at most 200 of the user's file.
_MAX_NAME = 50
_MAX_KEY = 40
_MAX_VALUE = 50

# How hints begin that are about the text of the file.
_ABOUT_QUOTES = ("quote it", "remove the quotes", "put it in brackets", "write `true`", "write `false`")

_TYPE_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "boolean": "`true` or `false`",
    "null": "null",
    "integer": "an integer",
    "number": "a number",
}


class Explainer:
    """Collects the rules that one file breaks, then explains each once.

    Paths are from the root of the file. `span_at` returns the span of the value at a path, or of
    its key; `task_name` returns the name of the task with a number (from 0).
    """

    def __init__(
        self,
        schema: dict[str, Any],
        source: SourceText,
        span_at: Callable[[Path, bool], Span],
        task_name: Callable[[int], str],
    ) -> None:
        self._source = source
        self._span_at = span_at
        self._task_name = task_name
        self._schema = schema
        self._task_keys = definition(schema, "#/definitions/task")["properties"]
        self._job_keys = schema["properties"]
        self._found: dict[tuple[Path, str], Diagnostic] = {}
        # Keys that unknown keys were probably meant to be, with the path of their mapping.
        self._meant: set[tuple[Path, str]] = set()
        self._needs: list[tuple[Path, tuple[str, ...], Diagnostic]] = []

    def add(self, path: Path, keyword: str, schema: dict[str, Any], value: Any, in_key: bool) -> None:
        """Add a violation of `keyword` in a part of the schema by the value at `path`.

        `in_key`: the value is a key of the mapping at `path`.
        """
        if in_key:
            self._key_diagnostic(path, schema, value)
        elif keyword in ("additionalProperties", "False", "None") or not schema:
            self._unknown_key(path)
        elif keyword == "required":
            self._missing(path, schema, value)
        elif keyword == "oneOf":
            self._one_of(path, schema["oneOf"], value)
        elif keyword == "not":
            self._together(path, schema, value)
        else:
            self._value_diagnostic(path, keyword, schema, value)

    def diagnostics(self) -> list[Diagnostic]:
        """All diagnostics, sorted by position; never empty."""
        for path, keys, diagnostic in self._needs:
            if not any((path, key) in self._meant for key in keys):
                self._found.setdefault((path, "needs"), diagnostic)
        if not self._found:
            help = "please report this: it is a bug in mprun"
            self._note((), "", "the job does not match its schema", help)
        return sorted(self._found.values(), key=Diagnostic.sort_key)

    def _note(self, path: Path, rule: str, message: str, help: str, key: bool = False) -> None:
        self._found.setdefault((path, rule), self._diagnostic(path, message, help, key))

    def _diagnostic(self, path: Path, message: str, help: str, key: bool = False) -> Diagnostic:
        return Diagnostic(message=message, source=self._source, span=self._span_at(path, key), help=help)

    def _unknown_key(self, path: Path) -> None:
        above, key = path[:-1], path[-1]
        shown = self._written(path, key=True) or str(key)
        known = self._keys_at(above)
        meant = closest(key, known, SYNONYMS) if isinstance(key, str) else ""
        if meant:
            self._meant.add((above, meant))
        help = (
            self._elsewhere(above, key)
            or self._of_attempts(path, meant)
            or _missing_space(shown, known)
            or did_you_mean(str(key), known, SYNONYMS)
        )
        self._note(
            path,
            "key",
            f"unknown key {quote(shown[:_MAX_KEY])} in {self._whole(above)}",
            help,
            key=True,
        )

    def _elsewhere(self, above: Path, key: object) -> str:
        """The help text for a key that is valid elsewhere."""
        if above == ("defaults",) and key in self._task_keys:
            return "set it on each task: it cannot be a default"
        if above == () and key in self._task_keys:
            return "move it to a task: it is a task key"
        if len(above) == 2 and above[0] == "tasks" and key in self._job_keys:
            return "move it to the top level of the file: it is a job key"
        return ""

    def _of_attempts(self, path: Path, meant: str) -> str:
        """How to write a number of attempts, of which all but the first are retries."""
        if meant not in ("retries", "retry") or "attempts" not in str(path[-1]):
            return ""
        written = self._written(path)
        if not written.isdecimal() or not 0 < (count := int(written[:6])) < 10**6:
            return f"use `{meant}`, the number of extra attempts: one less than all attempts"
        return f"{count} attempt{'s are' if count > 1 else ' is'} `{meant}: {count - 1}`"

    def _keys_at(self, path: Path) -> list[str]:
        """The keys that the schema knows in the mapping at `path`."""
        part: Any = {"properties": self._job_keys, "type": "object"}
        for step in path:
            part = self._resolved(part)
            part = part.get("items", {}) if isinstance(step, int) else self._below(part, step)
        return list(self._resolved(part).get("properties", ()))

    def _below(self, part: dict[str, Any], step: str) -> Any:
        if step in part.get("properties", {}):
            return part["properties"][step]
        other = part.get("additionalProperties")
        return other if isinstance(other, dict) else {}

    def _resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in part:
            part = definition(self._schema, part["$ref"])
        return part

    def _key_diagnostic(self, path: Path, schema: dict[str, Any], key: Any) -> None:
        at = (*path, key)
        shown = (self._written(at, key=True) or str(key))[:_MAX_KEY]
        where = self._whole(path)
        if not isinstance(key, str):
            help = f'quote it: `"{shown}"`'
            self._note(at, "name", f"key {quote(shown)} in {where} must be a string", help, key=True)
        elif key == "":
            self._note(at, "name", f"a key in {where} must not be empty", "give it a name", key=True)
        else:
            rule = schema.get("errorMessage", "is not allowed here")
            self._note(at, "name", f"{quote(shown)} in {where} {rule}", "", key=True)

    def _missing(self, path: Path, schema: dict[str, Any], value: Any) -> None:
        for key in schema["required"] if isinstance(value, dict) else ():
            if key not in value:
                help = "add `tasks:` with a list below it" if path == () else f"add `{key}:`"
                diagnostic = self._diagnostic(path, f"missing key `{key}` in {self._whole(path)}", help)
                self._needs.append((path, (key,), diagnostic))

    def _one_of(self, path: Path, parts: list[dict[str, Any]], value: Any) -> None:
        if not isinstance(value, dict):
            return  # already reported: it must be a mapping
        keys = tuple(part["required"][0] for part in parts if "required" in part)
        given = [key for key in value if key in keys]
        if not given:
            words = ", ".join(f"`{key}`" for key in keys[:-1]) + f" or `{keys[-1]}`"
            help = "add `target: package.module:callable`" if "target" in keys else f"add `{keys[0]}:`"
            diagnostic = self._diagnostic(path, f"{self._whole(path)} needs one of {words}", help)
            self._needs.append((path, keys, diagnostic))
        else:
            self._both(path, given, "remove one of them")

    def _together(self, path: Path, schema: dict[str, Any], value: Any) -> None:
        wanted = schema["not"].get("required", ())
        self._both(path, [key for key in value if key in wanted], schema.get("errorMessage", ""))

    def _both(self, path: Path, keys: list[str], help: str) -> None:
        both = "both " if len(keys) == 2 else ""
        words = " and ".join(f"`{key}`" for key in keys)
        self._note((*path, keys[-1]), "both", f"{self._whole(path)} has {both}{words}", help, key=True)

    def _value_diagnostic(self, path: Path, keyword: str, schema: dict[str, Any], value: Any) -> None:
        written = self._written(path)
        must = "must be above 0" if is_zero_limit(schema, value) else _must(keyword, schema)
        subject, place_words = self._subject(path)
        # What is not a job file may be a secret.
        described = _describe(value, written) if path else f"a {type_name(value)}"
        but = "" if must.endswith("empty") else f", not {described}"
        if path[-1:] == ("group",):
            reason = "multiprocessing reserves it (`Process(group=None)`)"
            self._note(path, "value", f"{subject}{place_words} must be null: {reason}", "remove it")
            return
        help = hint_for(keyword, schema, value, written[:_MAX_VALUE], _key_of(path))
        if "${" in written and isinstance(value, str) and help.startswith(_ABOUT_QUOTES):
            # It is the value of a reference, which has no quotes.
            help = ""
        self._note(path, "value", f"{subject}{place_words} {must}{but}", help)

    def _written(self, path: Path, key: bool = False) -> str:
        """The text of the file at a path, if that is one line."""
        span = self._span_at(path, key)
        lines = self._source.lines
        line = lines[span.line - 1] if span.line <= len(lines) else ""
        text = line[span.column - 1 : span.column - 1 + min(span.width, 4 * _MAX_VALUE)]
        return re.sub(r"^&\S+\s+", "", text).strip()

    def _subject(self, path: Path) -> tuple[str, str]:
        """What is wrong, and of which task: ("`retry.delay`", " of task `crunch`")."""
        if not path:
            return "a job file", ""
        if path[0] != "tasks" or len(path) == 1:
            return _label(path), ""
        if len(path) == 2:
            return self._task(path), ""
        return _label(path[2:]), f" of {self._task(path)}"

    def _whole(self, path: Path) -> str:
        subject, of_task = self._subject(path)
        return "the job" if not path else subject + of_task

    def _task(self, path: Path) -> str:
        return f"task {quote(self._task_name(int(path[1]))[:_MAX_NAME])}"


def _key_of(path: Path) -> str:
    """The last key of a path, to which an item of a list belongs; `ready.timeout` for those of `ready`."""
    keys = [step for step in path if isinstance(step, str)][-2:]
    return ".".join(keys if keys[:1] == ["ready"] else keys[-1:])


def _missing_space(shown: str, known: Collection[str]) -> str:
    """`{target:tasks:greet}` has one key, because a space is missing."""
    key = shown.partition(":")[0]
    return f"add a space after `{key}:`" if key != shown and key in known else ""


def _label(path: Path) -> str:
    """`retry.delay`, item 2 of `tags`, `timeout` in item 1 of `join`."""
    end = len(path)
    while end and isinstance(path[end - 1], str):
        end -= 1
    keys = ".".join(str(key) for key in path[end:])
    if not end:
        return quote(keys[:_MAX_KEY])
    item = f"item {int(path[end - 1]) + 1} of {_label(path[: end - 1])}"
    return f"{quote(keys[:_MAX_KEY])} in {item}" if keys else item


def _must(keyword: str, schema: dict[str, Any]) -> str:
    if keyword in ("minItems", "minProperties") or (keyword == "minLength" and schema["minLength"] == 1):
        return "must not be empty"
    if keyword == "maxLength":
        return f"must be at most {schema['maxLength']} characters long"
    choices = schema.get("enum") or schema.get("examples")
    if choices and not (schema.get("errorMessage", "").startswith("must be the")):
        return "must be one of " + ", ".join(f"`{choice}`" for choice in choices)
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if keyword == "type" and types == ["string", "number", "boolean"]:
        # Numbers and booleans are replaced by their texts before.
        return "must be a string"
    of_form = schema.get("title") == "target" or keyword != "type" or types != ["string"]
    if "errorMessage" in schema and of_form:
        return str(schema["errorMessage"])
    return "must be " + " or ".join(_TYPE_WORDS[name] for name in types)


def _describe(value: Any, written: str) -> str:
    """A value in words: its kind, and its text in the file."""
    kind = type_name(value)
    if isinstance(value, (dict, list)):
        return f"a {kind}"
    if value is None:
        return "null" if written in ("null", "~") else "null (the value is empty)"
    if isinstance(value, str) and "\n" in value:
        written = value
    elif "${" in written and not (isinstance(value, str) and "${" in value):
        # The value of a reference.
        return f"the {kind} {quote(str(value)[:_MAX_VALUE])} (`{written[:_MAX_VALUE]}`)"
    shown = written if len(written) <= _MAX_VALUE else written[: _MAX_VALUE - 1] + "…"
    return f"the {kind} {quote(shown)}"

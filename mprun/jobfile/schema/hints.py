"""Help texts: what to write instead of an invalid value."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import did_you_mean, quote, visible
from mprun.jobfile.syntax.scalars import OutOfRange, resolve
from mprun.jobfile.units import to_seconds

if TYPE_CHECKING:
    from collections.abc import Collection

_TIME_UNITS = {
    unit: ours
    for ours, units in {
        "ms": "ms msec msecs millis millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
    }.items()
    for unit in units.split()
}
_SIZE_UNITS = {"": "B", "b": "B", "bytes": "B"} | {
    unit: ours
    for letter in "kmgt"
    for ours, units in ((f"{letter.upper()}B", ("", "b")), (f"{letter.upper()}iB", ("i", "ib")))
    for unit in (letter + end for end in units)
}

# A number and its unit; with spaces also before it, matching could take exponential time.
_PART = r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*"


def hint_for(keyword: str, schema: dict[str, Any], value: Any, written: str, key: str = "") -> str:
    """The help text for a value that violates `keyword` of its schema.

    `written` is its text in the file, `key` the key whose value it is; below `ready` also that.
    """
    types = schema.get("type", ())
    types = (types,) if isinstance(types, str) else tuple(types)
    if value is None:
        return _null(types, written, key)
    if key == "ready":
        return _probe(value, written)
    if keyword == "type":
        return _other_type(types, schema, value, written, key)
    if is_zero_limit(schema, value):
        return f"leave it out for {'the default' if key.startswith('ready.') else 'no limit'}"
    if not isinstance(value, str):
        return ""
    choices = schema.get("enum") or schema.get("examples")
    if choices:
        return did_you_mean(value, [str(choice) for choice in choices])
    by_title = {
        "target": _target,
        "task name": _task_name,
        "duration": _duration,
        "size": _size,
        "flag": _flag,
    }.get(schema.get("title", ""))
    if by_title:
        return by_title(value)
    if {"array", "string"} <= set(types) and "object" not in types:
        return _in_brackets(written)
    return _unquoted(value) if {"integer", "number"} & set(types) else ""


def is_zero_limit(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is the 0 of a limit that must be above 0: `0`, `0s`."""
    if "exclusiveMinimum" not in schema or isinstance(value, bool):
        return False
    try:
        return isinstance(value, (int, float, str)) and to_seconds(value) == 0
    except (ValueError, OverflowError):
        return False


def _null(types: tuple[str, ...], written: str, key: str) -> str:
    """`~` is null in YAML, and so is a value that is left out."""
    if written == "~" and "string" in types:
        if key in _PATH_KEYS:
            return "`~` is null in YAML; write `${env.HOME}` for the home directory"
        return "`~` is null in YAML; quote it, or remove it"
    if types == ("string", "number", "boolean") and written.lower() not in ("~", "null"):
        return 'write `""` for an empty string, or remove it'
    if written.lower() == "null" and types and types[0] == "string":
        return f'quote it: `"{written}"`'
    return "give it a value, or remove it" if "string" in types else ""


# Keys whose values are paths, in which `~` would be meant as the home directory.
_PATH_KEYS = frozenset({"cwd", "env_file", "pythonpath", "ready.file", "uses"})


def _other_type(types: tuple[str, ...], schema: dict[str, Any], value: Any, written: str, key: str) -> str:
    chosen = schema.get("title") == "target" or schema.get("enum") or schema.get("examples")
    if isinstance(value, (bool, int, float)) and types == ("string",) and written and not chosen:
        return f'quote it: `"{visible(written)}"`'
    if isinstance(value, str) and schema.get("title") == "flag":
        return _flag(value)
    if isinstance(value, str) and "target" in schema.get("properties", {}):
        return _of_string_for_task(value, written, schema["properties"])
    if isinstance(value, dict) and "array" in types and "tasks" in schema.get("errorMessage", ""):
        return "start each task with `- `"
    if isinstance(value, dict) and key == "args":
        return "use `kwargs` for a mapping"
    if isinstance(value, list) and key == "env":
        return _of_variables(value)
    if isinstance(value, list) and key == "kwargs":
        return "use `args` for a list"
    if "array" in types and "object" not in types and not isinstance(value, (dict, list)):
        return _in_brackets(written)
    if isinstance(value, str):
        return _unquoted(value) if {"integer", "number"} & set(types) else ""
    return ""


def _of_variables(value: list[Any]) -> str:
    """A list as Compose has it, `[A=1]`, where a mapping must be."""
    first = re.fullmatch(r"([A-Za-z_]\w{0,40})=([\w./-]{1,40})", str(value[0])) if value else None
    return f"write {quote(f'{{{first[1]}: {first[2]}}}')}" if first else "write `{NAME: value}`"


def _probe(value: Any, written: str) -> str:
    """An address where a probe must be."""
    if isinstance(value, str) and re.match(r"https?://", value):
        return f"write {quote(f'{{http: {written}}}')}"
    is_port = re.fullmatch(r"(?:[\w.-]+:)?[0-9]{1,5}", str(value)) and not isinstance(value, float)
    return f"write {quote(f'{{tcp: {written}}}')}" if is_port else ""


def _in_brackets(written: str) -> str:
    return f"put it in brackets: {quote('[' + written + ']')}" if written else ""


def _of_string_for_task(value: str, written: str, keys: Collection[str]) -> str:
    """A string where a task must be: `target:tasks:greet` lacks a space, `tasks:greet` its key."""
    key, colon, rest = value.partition(":")
    if not colon:
        return ""
    return f"add a space after `{key}:`" if key in keys and rest else f"write {quote('target: ' + written)}"


def _target(value: str) -> str:
    text = value.strip().removesuffix("()").removeprefix("./").replace("::", ":")
    text = re.sub(r"\.py(?=:|$)", "", text)
    folder, _, text = text.rpartition("/") if re.match(r"\.*/", text) else ("", "", text)
    text = text.replace("/", ".")
    if value.strip().endswith(".py") and re.fullmatch(r"[^\W\d][\w.]*", text):
        return f"add the name of the callable: {quote(text[:60] + ':NAME')}"
    if ":" not in text:
        module, _, name = text.rpartition(".")
        text = f"{module}:{name}"
    if text == value or not re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text):
        return ""
    if folder:
        return f"write {quote(text[:60])}, and add `pythonpath: {visible(folder[:60])}` to the job"
    return f"did you mean {quote(text[:60])}?"


def _task_name(value: str) -> str:
    bad = next((c for c in value if c in "/[]{}*?$" or ord(c) < 32 or 127 <= ord(c) < 160), "")
    return f"remove the {quote(bad)}" if bad else ""


def _duration(value: str) -> str:
    return _with_units(value, _TIME_UNITS) or _unquoted(value)


def _size(value: str) -> str:
    return _with_units(value, _SIZE_UNITS) or _unquoted(value)


def _with_units(value: str, units: dict[str, str]) -> str:
    value = value.strip()
    if len(value) > 60 or not re.fullmatch(f"(?:{_PART})+", value):
        return ""
    parts = re.findall(_PART, value)
    if any(unit.lower() not in units for _, unit in parts):
        return ""
    return f"did you mean {quote(''.join(number + units[unit.lower()] for number, unit in parts))}?"


def _flag(value: str) -> str:
    word = value.strip().lower()
    if word in ("yes", "on", "true", "y", "1"):
        return "write `true`, without quotes"
    return "write `false`, without quotes" if word in ("no", "off", "false", "n", "0") else ""


def _unquoted(value: str) -> str:
    try:
        number = resolve(value) if len(value) <= 40 else value
    except OutOfRange:
        return ""
    is_number = type(number) is int or (type(number) is float and isfinite(number))
    return f"remove the quotes: `{value}`" if is_number else ""

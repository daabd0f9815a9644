"""The schemas of what commands print, and how an output is compared with them."""

from __future__ import annotations

import json

import jsonschema

from mprun.jobfile.schema.job_schema import schema_text

# What no reader checks in a record, which another program may have written; nor the types inside a value.
_LIMITS = ("enum", "pattern", "minimum", "maximum", "minLength")
# The events that `mprun show --json` prints.
_PRINTED = (
    *("run_started", "task_started", "task_ready", "task_stopping", "task_exited", "task_retrying"),
    *("host_changed", "run_finished"),
)


def read(name):
    """A schema that mprun ships."""
    return json.loads(schema_text(name))


def printed_events():
    """The definitions of events as `mprun show --json` has them: with their types, and any words."""
    schema = read("event")
    common = {name: _relaxed(schema["properties"][name]) for name in schema["required"]}
    found = {}
    for kind in _PRINTED:
        part = schema["definitions"][kind]
        properties = {name: _relaxed(one) for name, one in part["properties"].items()}
        found[kind] = {**part, "properties": {**common, **properties}}
    return found


def _relaxed(part):
    """The schema of a key: its own type, and what is described inside it."""
    relaxed = {}
    for key, value in part.items():
        if key == "properties":
            relaxed[key] = {name: _inside(_relaxed(one)) for name, one in value.items()}
        elif key in ("items", "additionalProperties"):
            relaxed[key] = _inside(_relaxed(value))
        elif key not in _LIMITS and key != "required":
            relaxed[key] = value
    return relaxed


def _inside(part):
    return {key: value for key, value in part.items() if key != "type"}


def strict(part):
    """A schema that refuses keys which it does not describe."""
    if isinstance(part, list):
        return [strict(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {key: strict(value) for key, value in part.items()}
    if isinstance(part.get("properties"), dict) and "object" in part.get("type", ()):
        closed.setdefault("additionalProperties", False)
    return closed


def refusals(name, value, *, undescribed=False):
    """What a schema does not allow in a value, with its place; keys that it does not describe, too.

    With `undescribed`, these are allowed.
    """
    schema = read(name)
    validator = jsonschema.Draft7Validator(schema if undescribed else strict(schema))
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]

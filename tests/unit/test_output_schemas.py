"""The schemas of what `--json` prints: complete, described, and in step with that of events."""

import json
import os

import jsonschema
import pytest
from support import schemas
from support.runs import ROOT

from mprun.cli.commands import group
from mprun.cli.init import SCHEMAS

OUTPUTS = [name for name in SCHEMAS if name not in ("job", "event")]


def test_every_schema_is_published():
    assert {f"{name}.schema.json" for name in SCHEMAS} == {path.name for path in (ROOT / "schemas").iterdir()}


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_draft_07(name):
    schema = schemas.read(name)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["$id"] == f"urn:mprun:schemas:{name}"
    jsonschema.Draft7Validator.check_schema(schema)


def test_every_command_with_json_has_a_schema():
    with_json = {
        name
        for name, command in group.commands.items()
        if any("--json" in one.opts for one in command.params)
    }
    # `run`, `resume` and `merge` print what `show` does, and `result` what a task returned.
    assert with_json - {"run", "resume", "merge", "result"} == set(OUTPUTS) - {"error"}
    assert with_json | {"export", "help", "init", "report", "schema"} == set(group.commands)


def parts(part, path=""):
    """Every schema of a key, an item or a definition, with its path."""
    if not isinstance(part, dict):
        return
    for key, inner in part.items():
        if key in ("properties", "definitions"):
            for name, one in inner.items():
                yield f"{path}/{name}", one
                yield from parts(one, f"{path}/{name}")
        elif key in ("items", "additionalProperties"):
            yield f"{path}/{key}", inner
            yield from parts(inner, f"{path}/{key}")


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_key_is_described(name):
    found = list(parts(schemas.read(name)))
    assert len(found) > 3
    bare = [path for path, part in found if not part.keys() & {"description", "$ref"}]
    # These are described where the list is.
    assert [path for path in bare if not path.endswith(("/items", "/additionalProperties"))] == []


def test_events_are_described_as_in_their_own_schema():
    """With `UPDATE_TEXTS=1`, the schema is rewritten."""
    schema, expected = schemas.read("show"), schemas.printed_events()
    definitions = schema["definitions"]
    if os.environ.get("UPDATE_TEXTS"):
        definitions.update(expected)
        text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        (ROOT / "schemas" / "show.schema.json").write_text(text, encoding="utf-8")
    assert {name: definitions[name] for name in expected} == expected


def test_a_key_without_a_description_is_refused():
    value = {"task": "a", "attempt": 1, "line": "x"}
    assert schemas.refusals("logs", value) == []
    assert schemas.refusals("logs", {**value, "other": 1})
    assert schemas.refusals("logs", {"task": "a", "line": "x"})

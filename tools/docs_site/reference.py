"""Writes the reference pages of the site from what the program itself knows.

The keys of the job file and the events of a record come from their schemas, the command line from click,
the Python interface from its docstrings (by Sphinx). None of them is in git, so none can be out of date.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

import mprun
from mprun.cli.commands import EXIT_CODES, group

SCHEMAS = Path(__file__).parents[2] / "schemas"
# A code span in HTML keeps what is in it.
_CELL = str.maketrans({"|": r"\|", "\n": " "})


def write_reference(directory: Path) -> None:
    """Write all pages into a directory."""
    directory.mkdir(exist_ok=True)
    pages = {
        "job-file-keys.md": job_file(json.loads((SCHEMAS / "job.schema.json").read_text("utf-8"))),
        "command-line.md": command_line(),
        "events.md": events(json.loads((SCHEMAS / "event.schema.json").read_text("utf-8"))),
        "python-interface.md": python_interface(),
    }
    for name, text in pages.items():
        path = directory / name
        # Sphinx reads again only what has changed.
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


# ---- schemas


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema with what it refers to; its own description comes first."""
    while "$ref" in schema:
        meant: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            meant = meant[step]
        schema = {**meant, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def kind(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    schema = resolved(schema, root)
    demand = schema.get("errorMessage", "")
    if demand.startswith("must be "):
        return str(demand.removeprefix("must be "))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            kinds = [kind(part, root) for part in schema[choice]]
            return ", or ".join(dict.fromkeys(filter(None, kinds)))
    kinds = schema.get("type", "any value")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    names = {"object": "mapping", "array": "list", "boolean": "true or false"}
    return ", or ".join(names.get(each, each) for each in kinds)


def text_of(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """The description, as a cell of a table."""
    return str(resolved(schema, root).get("description", "")).translate(_CELL)


def rows(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """A table of the keys of an object."""
    schema = resolved(schema, root)
    required = schema.get("required", ())
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for name, part in schema.get("properties", {}).items():
        shown = f"`{name}`" + (" (required)" if name in required else "")
        lines.append(f"| {shown} | {kind(part, root).translate(_CELL)} | {text_of(part, root)} |")
    return "\n".join(lines) + "\n"


def nested(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The keys of an object whose values are mappings with known keys, or lists of such."""
    found = {}
    for name, part in resolved(schema, root).get("properties", {}).items():
        part = resolved(part, root)
        for candidate in (part, *part.get("anyOf", ()), *part.get("oneOf", ())):
            candidate = resolved(candidate, root)
            if isinstance(candidate.get("items"), dict):
                item = resolved(candidate["items"], root)
                choices = [resolved(choice, root) for choice in item.get("anyOf", ())]
                candidate = next((choice for choice in choices if "properties" in choice), item)
            if "properties" in candidate:
                found[name] = candidate
                break
    return found


def job_file(root: dict[str, Any]) -> str:
    """The keys of a job, of a task, and of what is inside them."""
    task = resolved({"$ref": "#/definitions/task"}, root)
    parts = [
        "# All keys of a job file",
        "From [the schema](../../schemas/job.schema.json) that editors use; "
        "[the reference](../job-file.md) explains them, with examples.",
        "## Keys of a job",
        rows(root, root),
        "## Keys of a task",
        rows(task, root),
    ]
    inner = {
        name: part for name, part in nested(root, root).items() if name not in ("tasks", "defaults")
    } | nested(task, root)
    for name, part in sorted(inner.items()):
        parts += [f"### Inside `{name}`", rows(part, root)]
    parts += ["## A param", rows({"$ref": "#/definitions/param"}, root)]
    return "\n\n".join(parts)


def events(root: dict[str, Any]) -> str:
    """The events of a record."""
    parts = [
        "# All events of a record",
        root["description"] + " The whole schema is [here](../../schemas/event.schema.json).",
        "Every event has these keys:",
        rows(root, root),
    ]
    for branch in root["allOf"]:
        name = branch["if"]["properties"]["event"]["const"]
        schema = resolved(branch["then"], root)
        parts += [f"## {name}", str(schema.get("description", "")), rows(schema, root)]
    return "\n\n".join(filter(None, parts))


# ---- the command line


def shown_help(text: str | None) -> str:
    """A help text as Markdown; what click leaves as it is becomes a block."""
    parts = []
    for part in re.split(r"\n\s*\n", (text or "").replace("\f", "").strip()):
        if part.startswith("\b\n"):
            parts.append(f"```text\n{part[2:]}\n```")
        else:
            parts.append(" ".join(part.split()))
    return "\n\n".join(parts)


def options(command: click.Command, context: click.Context) -> str:
    """A table of the options of a command."""
    lines = ["| option | variable | meaning |", "|---|---|---|"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if not isinstance(parameter, click.Option) or record is None:
            continue
        names, meaning = (" ".join(part.split()).translate(_CELL) for part in record)
        variable = f"`{parameter.envvar}`" if parameter.envvar else ""
        lines.append(f"| `{names}` | {variable} | {escaped(meaning)} |")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A text of click's in which nothing is markup."""
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)


def command_line() -> str:
    """Every command with its options."""
    root = click.Context(group, info_name="mprun")
    parts = ["# All commands and options", shown_help(group.help)]
    for name in sorted(group.commands):
        command = group.commands[name]
        context = click.Context(command, info_name=name, parent=root)
        usage = " ".join(["mprun", name, *command.collect_usage_pieces(context)])
        parts += [
            f"## mprun {name}",
            f"```text\n{usage}\n```",
            shown_help(command.help),
            options(command, context),
        ]
    codes = EXIT_CODES.partition("\n")[2].partition("\n")[2]
    parts += ["## Exit codes", f"```text\n{codes.rstrip()}\n```"]
    return "\n\n".join(parts)


# ---- Python


def python_interface() -> str:
    """Every public name; Sphinx fills in signatures and docstrings."""
    parts = ["# All public names in Python", "[From Python](../python.md) has examples."]
    for name in mprun.__all__:
        value = getattr(mprun, name)
        directive = "autoclass" if isinstance(value, type) else "autofunction"
        lines = [f".. {directive}:: mprun.{name}"]
        if isinstance(value, type):
            lines += ["   :members:", "   :undoc-members:"]
        parts.append("```{eval-rst}\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts) + "\n"

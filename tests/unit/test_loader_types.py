"""What one whole reference may stand for (C54): known types are checked before the start, late ones at it."""

import importlib
import json

import pytest

from mprun import api
from mprun.errors import JobFileError, MprunError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.schema import job_schema

# Every type of YAML, and what is special in some keys.
VALUES = {
    "a text": "hello",
    "NUL": "a\0b",
    "a list": ["a"],
    "mappings": [{"a": 1}],
    "a mapping of lists": {"a": [1, 2]},
    "keys of numbers": {1: 2},
    "an integer": 3,
    "null": None,
    "what looks like a reference": "${item}",
}
# Where the others take the same way.
FEW = ("a text", "a list", "a mapping of lists")
SCHEMA = json.loads(job_schema.schema_text())
VIEWS = (("plan_text", "plan_lines"), ("plan_json", "plan_json"), ("plan_graph", "mermaid_lines"))


def part(schema):
    while "$ref" in schema or ("type" not in schema and len(schema.get("allOf", ())) == 1):
        name = schema["$ref"].rpartition("/")[2] if "$ref" in schema else ""
        schema = SCHEMA["definitions"][name] if name else schema["allOf"][0]
    return schema


def places(schema, path=()):
    """The paths of all keys and items of the schema that a job file may write."""
    schema = part(schema)
    if path:
        yield path
    if len(path) == 3:
        return
    for key, below in schema.get("properties", {}).items():
        yield from places(below, (*path, key))
    for key, step in (("items", 0), ("additionalProperties", "some")):
        if isinstance(schema.get(key), dict):
            yield from places(schema[key], (*path, step))


def at(path, value):
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [value]
    return value


def job_with(where, path, reference, value):
    """A job with a reference at a path of the job, of a task or of its defaults."""
    task = {"name": "t"}
    key = path[0]
    if key == "with":
        task["uses"] = "recipe.yaml"
    elif key == "capture":
        task["command"] = "true"
    elif key not in ("target", "command", "uses"):
        task["target"] = "os:getpid"
    if key in ("ready", "restart"):
        task["daemon"] = True
    for root, needed, listed in (("item", "foreach", [value]), ("matrix", "matrix", {"a": [value]})):
        if reference.startswith(f"${{{root}") and key != needed:
            task[needed] = listed
    keys = at(path, reference)
    if path[:2] in (("ready", "timeout"), ("ready", "interval"), ("ready", "try_timeout")):
        keys["ready"]["tcp"] = 80
    job = {"tasks": [{"name": "x", "target": "os:getpid"}, task]}
    if reference.startswith("${params"):
        job["params"] = {"p": value}
    if where == "task":
        task.update(keys)
    elif where == "defaults":
        job["defaults"] = keys
    else:
        job.update(
            {**keys, "params": {**job.get("params", {}), **at(path[1:], reference)}}
            if key == "params" and path[1:]
            else keys
        )
    return job


def read_and_shown(tmp_path, job):
    """Load and plan a job and write all views of it; whether it was refused."""
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(job))
    try:
        plan = api.plan_job(load_job_file(str(file), {}, (), {"V": "hello"}))
    except MprunError as error:
        return bool(str(error))
    for module, function in VIEWS:
        view = getattr(importlib.import_module(f"mprun.cli.views.{module}"), function)
        list(view(plan, None))
    return False


WHERE = {
    "task": list(places(SCHEMA["definitions"]["task"])),
    "defaults": list(places(SCHEMA["definitions"]["task"])),
    "job": [path for path in places(SCHEMA) if path[0] not in ("tasks", "defaults")],
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    "reference", ["${params.p}", "${item}", "${matrix.a}", "${tasks.x.result}", "${env.V}"]
)
def test_a_whole_reference_of_any_type_in_any_key_is_read_or_refused_C54(tmp_path, where, reference):
    (tmp_path / "recipe.yaml").write_text(
        "params: {v: 1}\ntasks: [{target: 'os:getpid', args: ['${params.v}']}]\n"
    )
    one = reference in ("${tasks.x.result}", "${env.V}")
    refused = 0
    for path in WHERE[where]:
        for name in ("a text",) if one else FEW if where == "defaults" else VALUES:
            try:
                refused += read_and_shown(tmp_path, job_with(where, path, reference, VALUES[name]))
            except Exception as error:
                error.add_note(f"{where} {path}: {name}")
                raise
    assert refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{args: '${params.p}'}", "`args` must be a list, but `${params.p}` is a string"),
        ("{kwargs: '${params.p}'}", "`kwargs` must be a mapping, but `${params.p}` is a string"),
        (
            "{foreach: [[1], {}], args: '${item}'}",
            "`args` must be a list, but `${item}` is a mapping",
        ),
        (
            "{matrix: {a: [[1], 2]}, args: '${matrix.a}'}",
            "`args` must be a list, but `${matrix.a}` is a number",
        ),
        ("{foreach: [{1: 2}], kwargs: '${item}'}", "the keys of `kwargs` must be strings"),
        ("{cwd: '${params.l}'}", "`cwd` must be a path, but `${params.l}` is a list"),
        ("{env: {A: '${params.n}'}}", "`env` must not contain a NUL character"),
    ],
)
def test_a_type_that_is_known_is_checked_before_the_start_C54(tmp_path, text, message):
    file = tmp_path / "job.yaml"
    params = r'{p: hello, l: [a], n: "a\0b"}'
    file.write_text(f"{{params: {params}, tasks: [{{target: 'os:getpid', {text[1:]}]}}\n")
    with pytest.raises(JobFileError) as caught:
        load_job_file(str(file), {}, (), {})
    (diagnostic,) = caught.value.diagnostics
    assert message in str(diagnostic)


def test_the_type_of_a_command_is_checked_before_the_start_C54(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("tasks: [{command: '${item}', foreach: [echo, [echo, 1], 7, {a: b}]}]\n")
    with pytest.raises(
        JobFileError, match=r"`command` must be a string or a list of words, but `.*` is a mapping"
    ):
        load_job_file(str(file), {}, (), {})


def test_a_default_matrix_cannot_be_an_item_C54(tmp_path):
    file = tmp_path / "job.yaml"
    for key in ("matrix: '${item}'", "matrix: {a: '${matrix.b}'}", "foreach: '${item}'"):
        file.write_text(f"defaults: {{{key}}}\ntasks: [{{target: 'os:getpid'}}]\n")
        with pytest.raises(JobFileError, match="is only available in a task with"):
            load_job_file(str(file), {}, (), {})


def test_with_may_be_one_reference_to_a_mapping_C54(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "params: {v: 1}\ntasks: [{target: 'os:getpid', args: ['${params.v}']}]\n"
    )
    file = tmp_path / "job.yaml"
    file.write_text("tasks: [{uses: recipe.yaml, foreach: [{v: 2}, {v: 3}], with: '${item}'}]\n")
    plan = api.plan_job(load_job_file(str(file), {}, (), {}))
    assert [task.task.scope.params["v"] for task in plan.tasks] == [2, 3]


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1000001"])
@pytest.mark.parametrize("text", ["VALUE", "'${params.p}'"])
def test_a_factor_that_is_too_large_is_refused_C54(tmp_path, value, text):
    path = tmp_path / "job.yaml"
    backoff = text.replace("VALUE", value)
    path.write_text(
        f"params: {{p: {value}}}\ntasks:\n- {{target: 'os:getpid', retry: {{backoff: {backoff}}}}}\n"
    )
    with pytest.raises(JobFileError) as caught:
        load_job_file(str(path), {}, (), {})
    assert "must be a number from 1 to 1,000,000" in str(caught.value)
    assert caught.value.diagnostics[0].span.line == 3

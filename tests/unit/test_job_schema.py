"""The job schema: what it accepts and refuses, and the messages."""
# ruff: noqa: E501 - the tables have a mistake and its message on one line

import copy
import glob
import itertools
import json
import os
import random
import re
import socket
import subprocess
import sys

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.timing import quick

from mprun.diagnostic_text import render
from mprun.errors import JobFileError
from mprun.jobfile.schema import explain, job_schema
from mprun.jobfile.schema.fast_validator import FastValidator, unknown_keywords
from mprun.jobfile.schema.violations import violations
from mprun.jobfile.syntax.document import load, parse
from mprun.record.events import FORMAT, KINDS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JOB = json.loads(job_schema.schema_text("job"))
EVENT = json.loads(job_schema.schema_text("event"))

EVERYTHING = """
$schema: ../schemas/job.schema.json
name: everything
description: all keys
requires: mprun >= 0.1, < 1000
x-mine: [1, {2: 3}]
params:
  day: {type: string, required: true, pattern: "[0-9-]+", description: which day}
  n: 3
  sizes: [1, 2]
  empty: null
  size: {enum: [small, large], default: small}
  token: {secret: true}
env: {PORT: "8080"}
flaky: fail
outputs: {last: "${tasks.one.result}"}
on_host_lost: rerun
env_file: .env
cwd: .
pythonpath: [src, lib]
start_method: fork
preload: [json, os.path]
max_parallel: 4
resources: {db: 2, gpu: 1}
fail_fast: true
timeout: 1h
defaults:
  x-note: mine
  args: [1]
  kwargs: {a: 1}
  daemon: false
  group: null
  retry: 1
  timeout: 90
  stop: {signal: SIGINT, grace: 500ms}
  restart: never
  env: {A: b}
  tags: [slow]
  limits: {memory: 512MiB}
  allow_failure: false
  flaky: pass
tasks:
  - name: fetch
    description: gets it
    flaky: fail
    artifacts: true
    inputs: ["data/*.csv"]
    outputs: [out]
    target: package.module:Class.method
    args: [1, "two", null, {three: [3]}]
    kwargs: {día: 1}
    daemon: false
    group: null
    retry: {retries: 3, delay: 1s, backoff: 2, max_delay: 1m, jitter: 0.1, exceptions: [E], exit_codes: [75, -9]}
    timeout: 1m30s
    stop: {signal: TERM, grace: 5s}
    env: {A: b}
    cwd: data
    start_method: spawn
    tags: [a, b]
    resources: {db: 1}
    host: {gpu: 1, disk: 0.5}
    limits: {memory: 1GB, cpu_time: 1m, open_files: 64, nice: 5, cpus: [0, 1], log: 100MB}
    expect: {result: {rows: 3}, exit_code: [0, 75], output: done, max_seconds: 2.5, max_rss: 200MB, raises: E}
    allow_failure: true
    x-mine: 1
  - command: [python, -m, http.server, "8080"]
    name: server
    daemon: true
    restart: on-failure
    ready: {tcp: 8080, timeout: 10s, interval: 100ms}
  - command: sleep 1
    capture: json
    ready: {http: "http://localhost:8080/health"}
    depends_on: fetch
  - uses: other.yaml
    name: etl
    with: {day: "2026-01-01", n: 3}
    depends_on: [fetch, "s*", "m[model=a,n=1]", etl/task]
  - target: a:b
    depends_on: {fetch: succeeded, server: ready}
    when: ${params.n}
    matrix: {model: [a, b], n: [1, 2.5, true], include: [{model: c, n: 9}], exclude: [{model: a}]}
  - target: módulo.ñ:función
    foreach: ${tasks.fetch.result}
    ready: {log: listening}
    limits: {cpus: 2}
  - target: a:b
    foreach: [1, 2]
    ready: {file: /tmp/x}
    when: false
    expect: {exit_code: 3}
join: [fetch, {task: server, timeout: 500ms}, {task: etl}]
"""

REFERENCES = """
timeout: ${params.t}
max_parallel: ${params.n}
fail_fast: ${params.f}
start_method: ${params.m}
tasks:
  - target: a:b
    args: ${params.list}
    kwargs: ${params.map}
    daemon: ${params.d}
    retry: ${params.r}
    timeout: ${params.t}
    env: {A: "${env.B}"}
    tags: ${params.tags}
    restart: ${params.restart}
    stop: {grace: "${params.g}", signal: "${params.s}"}
    limits: {memory: "${params.memory}", nice: "${params.nice}", cpus: "${params.cpus}"}
    expect: {exit_code: "${params.code}", max_seconds: "${params.s}"}
    allow_failure: ${params.a}
    matrix: {n: "${params.list}"}
"""


def check(text):
    return job_schema.check(parse(text, "f.yaml"))


def messages(text):
    return [(p.message, p.help) for p in check(text)]


def task(lines):
    return "tasks:\n  - name: crunch\n    target: a:b\n" + "".join(
        f"    {line}\n" for line in lines.splitlines()
    )


def one(lines):
    (diagnostic,) = check(task(lines))
    return diagnostic


# -- the schemas themselves


def test_the_schemas_are_valid_draft_07():
    for text in (JOB, EVENT):
        assert text["$schema"] == "http://json-schema.org/draft-07/schema#"
        assert text["$id"]
        jsonschema.Draft7Validator.check_schema(text)


def test_the_fast_validator_knows_every_keyword_of_the_job_schema():
    assert unknown_keywords(JOB) == set()


@pytest.mark.parametrize(
    "schema",
    [
        {},
        *[{keyword: {"a": ...}} for keyword in ("properties", "patternProperties", "definitions")],
        *[{keyword: ...} for keyword in ("items", "additionalProperties", "propertyNames", "not")],
        *[{keyword: [{}, ...]} for keyword in ("oneOf", "allOf")],
    ],
    ids=str,
)
@pytest.mark.parametrize("outer", [False, True], ids=["outside", "inside `properties`"])
def test_the_fast_validator_finds_an_unknown_keyword_wherever_a_schema_may_be(schema, outer):
    """C85."""
    unknown = {"anyOf": [], "description": "is known"}

    def filled(part):
        if part is ...:
            return unknown
        if isinstance(part, dict):
            return {key: filled(below) for key, below in part.items()}
        return [filled(below) for below in part]

    schema = filled(schema) or unknown
    assert unknown_keywords({"properties": {"b": schema}} if outer else schema) == {"anyOf"}


def properties(part):
    if isinstance(part, dict):
        for keyword, below in part.items():
            if keyword in ("properties", "definitions") and isinstance(below, dict):
                yield from below.items()
            yield from properties(below)
    elif isinstance(part, list):
        for below in part:
            yield from properties(below)


def test_every_key_is_described():
    for name, part in properties(JOB):
        if name in ("required", "secret") and "enum" in part:
            continue  # the condition of a `not`
        found = part.get("description") or JOB["definitions"][part["$ref"].rsplit("/")[-1]]["description"]
        assert len(found) > 8, name


def patterns(part):
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        for below in part.values():
            yield from patterns(below)
    elif isinstance(part, list):
        for below in part:
            yield from patterns(below)


def test_no_pattern_lets_a_line_feed_at_the_end_pass():
    # In Python, `$` also matches before a line feed at the end; in an editor's JavaScript it does not.
    for pattern in set(patterns(JOB)):
        for text in ("fork", "a:b", "5s", "5MB", "never", "TERM", "h:80", "${a}", "http://a", "name", "a.b"):
            if re.search(pattern, text) and not re.search(pattern, "any thing/[at]: all\n?"):
                assert not re.search(pattern, text + "\n") or "\\S*" in pattern, (pattern, text)


def test_the_smallest_file_is_valid():
    assert check("tasks:\n  - target: examples.dancing:dance\n  - target: examples.singing:sing\n") == []


def test_every_form_of_every_key_is_valid():
    assert render(check(EVERYTHING)) == ""


def test_a_whole_reference_may_stand_for_any_value():
    assert render(check(REFERENCES)) == ""


def test_the_example_of_all_keys_has_all_keys():
    root = parse(EVERYTHING, "f").root
    assert root.keys() >= JOB["properties"].keys()
    assert set().union(*root["tasks"]) >= JOB["definitions"]["task"]["properties"].keys()


@pytest.mark.parametrize("path", sorted(glob.glob(f"{ROOT}/jobs/*.yaml")), ids=os.path.basename)
def test_the_recipes_obey_the_schema(path):
    assert render(job_schema.check(load(path))) == ""


def test_a_schema_that_is_not_shipped_is_an_error():
    with pytest.raises(FileNotFoundError, match="install mprun again"):
        job_schema.schema_text("nothing")


def test_the_schema_is_found_inside_a_wheel_too(tmp_path, monkeypatch):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "job.schema.json").write_text("{}")
    monkeypatch.setattr(job_schema, "_PACKAGE", str(tmp_path))
    assert job_schema.schema_text() == "{}"


# -- messages


def test_an_unknown_key_is_shown_as_the_design_shows_it():
    (diagnostic,) = check("tasks:\n  - name: crunch\n    target: a:b\n    retires: 2\n")
    assert render([diagnostic]) == (
        "error: unknown key `retires` in task `crunch`\n"
        " --> f.yaml:4:5\n"
        "  |\n"
        "4 |     retires: 2\n"
        "  |     ^^^^^^^ did you mean `retry`?"
    )


@pytest.mark.parametrize(
    ("lines", "message", "help", "marked"),
    [
        ("retry: {delai: 1s}", "unknown key `delai` in `retry` of task `crunch`", "did you mean `delay`?", "delai"),
        ("max_parallel: 2", "unknown key `max_parallel` in task `crunch`", "move it to the top level of the file: it is a job key", "max_parallel"),
        ("7: 2", "unknown key `7` in task `crunch`", "", "7"),
        ("daemon: yes", "`daemon` of task `crunch` must be `true` or `false`, not the string `yes`", "write `true`, without quotes", "yes"),
        ("daemon: 1", "`daemon` of task `crunch` must be `true` or `false`, not the number `1`", "", "1"),
        ("group: 3", "`group` of task `crunch` must be null: multiprocessing reserves it (`Process(group=None)`)", "remove it", "3"),
        ("description: 3.10", "`description` of task `crunch` must be a string, not the number `3.10`", 'quote it: `"3.10"`', "3.10"),
        ("description: 010", "`description` of task `crunch` must be a string, not the number `010`", 'quote it: `"010"`', "010"),
        ("description: &a 0x10", "`description` of task `crunch` must be a string, not the number `0x10`", 'quote it: `"0x10"`', "&a 0x10"),
        ("description: TRUE", "`description` of task `crunch` must be a string, not the boolean `TRUE`", 'quote it: `"TRUE"`', "TRUE"),
        ("description: ~", "`description` of task `crunch` must be a string, not null", "`~` is null in YAML; quote it, or remove it", "~"),
        ("description: null", "`description` of task `crunch` must be a string, not null", 'quote it: `"null"`', "null"),
        # C40: the hints that a new user needs.
        ("cwd: ~", "`cwd` of task `crunch` must be a string, not null", "`~` is null in YAML; write `${env.HOME}` for the home directory", "~"),
        ("env: {A: ~}", "`env.A` of task `crunch` must be a string, not null", "`~` is null in YAML; quote it, or remove it", "~"),
        ("env: {A: }", "`env.A` of task `crunch` must be a string, not null (the value is empty)", 'write `""` for an empty string, or remove it', "}"),
        ("retry: {attempts: 3}", "unknown key `attempts` in `retry` of task `crunch`", "3 attempts are `retries: 2`", "attempts"),
        ("retry: {max_attempts: 1}", "unknown key `max_attempts` in `retry` of task `crunch`", "1 attempt is `retries: 0`", "max_attempts"),
        ("retry: {attempts: some}", "unknown key `attempts` in `retry` of task `crunch`", "use `retries`, the number of extra attempts: one less than all attempts", "attempts"),
        ("attempts: 3", "unknown key `attempts` in task `crunch`", "3 attempts are `retry: 2`", "attempts"),
        ("tags: slow", "`tags` of task `crunch` must be a list of strings, not the string `slow`", "put it in brackets: `[slow]`", "slow"),
        ("args: {a: 1}", "`args` of task `crunch` must be a list, not a mapping", "use `kwargs` for a mapping", "{a: 1}"),
        # C42: a limit of 0 is meant as none.
        ("timeout: 0", "`timeout` of task `crunch` must be above 0, not the number `0`", "leave it out for no limit", "0"),
        ("timeout: 0m0.0s", "`timeout` of task `crunch` must be above 0, not the string `0m0.0s`", "leave it out for no limit", "0m0.0s"),
        ("limits: {cpu_time: 0.0}", "`limits.cpu_time` of task `crunch` must be above 0, not the number `0.0`", "leave it out for no limit", "0.0"),
        ("ready: {tcp: 1, timeout: 0s}", "`ready.timeout` of task `crunch` must be above 0, not the string `0s`", "leave it out for the default", "0s"),
        ("ready: {tcp: 1, interval: 0}", "`ready.interval` of task `crunch` must be above 0, not the number `0`", "leave it out for the default", "0"),
        ("description: [a]", "`description` of task `crunch` must be a string, not a list", "", "[a]"),
        ("tags: [a, 3.10]", "item 2 of `tags` of task `crunch` must be a string, not the number `3.10`", 'quote it: `"3.10"`', "3.10"),
        ("args: 5", "`args` of task `crunch` must be a list, not the number `5`", "put it in brackets: `[5]`", "5"),
        ("args: x", "`args` of task `crunch` must be a list, not the string `x`", "put it in brackets: `[x]`", "x"),
        ("kwargs: [a]", "`kwargs` of task `crunch` must be a mapping, not a list", "use `args` for a list", "[a]"),
        ("kwargs: {1: a}", "key `1` in `kwargs` of task `crunch` must be a string", 'quote it: `"1"`', "1"),
        ("env: {A=B: c}", "`A=B` in `env` of task `crunch` is not a valid environment variable name", "", "A=B"),
        ("timeout: 5 minutes", "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the string `5 minutes`", "did you mean `5m`?", "5 minutes"),
        ("timeout: 1h 30min", "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the string `1h 30min`", "did you mean `1h30m`?", "1h 30min"),
        ('timeout: "90"', "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the string `\"90\"`", "remove the quotes: `90`", '"90"'),
        ("timeout: -1", "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the number `-1`", "", "-1"),
        ("timeout: .nan", "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the number `.nan`", "", ".nan"),
        ("timeout: 12:30:45", "`timeout` of task `crunch` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the string `12:30:45`", "", "12:30:45"),
        ("limits: {memory: 512mb}", "`limits.memory` of task `crunch` must be a size: bytes, or a string such as `512MiB` or `1GB`, not the string `512mb`", "did you mean `512MB`?", "512mb"),
        ("limits: {memory: 1.5}", "`limits.memory` of task `crunch` must be a size: bytes, or a string such as `512MiB` or `1GB`, not the number `1.5`", "", "1.5"),
        ("limits: {cpus: []}", "`limits.cpus` of task `crunch` must not be empty", "", "[]"),
        ("start_method: frok", "`start_method` of task `crunch` must be one of `fork`, `forkserver`, `spawn`, not the string `frok`", "did you mean `fork`?", "frok"),
        ("restart: alway", "`restart` of task `crunch` must be one of `never`, `on-failure`, `always`, not the string `alway`", "did you mean `always`?", "alway"),
        ("depends_on: {a: succeded}", "`depends_on.a` of task `crunch` must be one of `succeeded`, `finished`, `failed`, `started`, `ready`, not the string `succeded`", "did you mean `succeeded`?", "succeded"),
        ("depends_on: 3", "`depends_on` of task `crunch` must be a task name, a list of them, or a mapping of task names and conditions, not the number `3`", "", "3"),
        ("ready: {}", "`ready` of task `crunch` needs one of `tcp`, `http`, `log`, `file` or `command`", "add `tcp:`", "{}"),
        ("ready: {tcp: 1, log: x}", "`ready` of task `crunch` has both `tcp` and `log`", "remove one of them", "log"),
        ("ready: {tcp: 99999}", "`ready.tcp` of task `crunch` must be a port from 1 to 65535, or `host:port`, not the number `99999`", "", "99999"),
        ("stop: {to: proces}", "`stop.to` of task `crunch` must be one of `group`, `process`, not the string `proces`", "did you mean `process`?", "proces"),
        ("stop: {signal: term}", "`stop.signal` of task `crunch` must be the name of a signal, such as `TERM` or `INT`, not the string `term`", "did you mean `TERM`?", "term"),
        ("command: [ls]", "task `crunch` has both `target` and `command`", "remove one of them", "command"),
        ("with: {a: 1}", "task `crunch` has both `target` and `with`", "use `kwargs` for a `target`: `with` is only for `uses`", "with"),
        ("matrix: {n: [1]}\nforeach: [1]", "task `crunch` has both `matrix` and `foreach`", "remove one of them", "foreach"),
        ("matrix: {n: []}", "`matrix.n` of task `crunch` must not be empty", "", "[]"),
        ("matrix: {}", "`matrix` of task `crunch` must not be empty", "", "{}"),
        ("retry: {retries: \"3\"}", "`retry.retries` of task `crunch` must be an integer from 0 to 1,000,000, not the string `\"3\"`", "remove the quotes: `3`", '"3"'),
        ("when: .nan", "`when` of task `crunch` must be a reference or a plain value, not the number `.nan`", "", ".nan"),
        ("when: [1]", "`when` of task `crunch` must be a reference or a plain value, not a list", "", "[1]"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_task_is_explained(lines, message, help, marked):
    diagnostic = one(lines)
    assert (diagnostic.message, diagnostic.help) == (message, help)
    line = diagnostic.source.lines[diagnostic.span.line - 1]
    assert line[diagnostic.span.column - 1 :][: diagnostic.span.width] == marked


@pytest.mark.parametrize(
    ("target", "suggestion"),
    [
        ("examples.dancing.dance", "examples.dancing:dance"),
        ("examples/dancing.py:dance", "examples.dancing:dance"),
        ("examples.dancing::dance", "examples.dancing:dance"),
        ("examples.dancing:dance()", "examples.dancing:dance"),
        ('"a.b:c\\n"', "a.b:c"),
        ("dance", ""),
        ("a:b:c", ""),
        ("1a:b", ""),
        ('"a b:c"', ""),
        ('""', ""),
        ("${params.t}", ""),
    ],
)
def test_a_target_of_another_form_is_refused_with_a_suggestion(target, suggestion):
    (diagnostic,) = check(
        f"tasks: [{{target: '{target}'}}]" if '"' not in target else f"tasks: [{{target: {target}}}]"
    )
    assert diagnostic.message.startswith(
        "`target` of task `Process-1` must look like `package.module:callable`, not "
    )
    assert diagnostic.help == (f"did you mean `{suggestion}`?" if suggestion else "")


@pytest.mark.parametrize("char", [*"/[]{}*?$", "\\0", "\\n", "\\x1b", "\\x7f", "\\x9b"])
def test_each_character_that_no_task_name_may_have_is_named(char):
    (diagnostic,) = check(f'tasks: [{{target: a:b, name: "a{char}"}}]')
    assert "must be 1 to 100 characters" in diagnostic.message
    assert re.fullmatch(r"remove the `.+`", diagnostic.help)


def test_task_names_have_1_to_100_characters():
    assert check(f"tasks: [{{target: a:b, name: {'名' * 100}}}]") == []
    (diagnostic,) = check(f"tasks: [{{target: a:b, name: {'x' * 101}}}]")
    assert "must be at most 100 characters long" in diagnostic.message
    assert messages('tasks: [{target: a:b, name: ""}]') == [
        ("`name` of task `Process-1` must not be empty", "")
    ]


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("a: 1\ntasks: [{target: a:b}]", "unknown key `a` in the job", ""),
        ("max_parallel: \"four\"\ntasks: [{target: a:b}]", "`max_parallel` must be an integer from 1 to 1,000,000, not the string `\"four\"`", ""),
        ("target: a:b\ntasks: [{target: a:b}]", "unknown key `target` in the job", "move it to a task: it is a task key"),
        ("processes: [{target: a:b}]", "unknown key `processes` in the job", "did you mean `tasks`?"),
        ("name: x", "missing key `tasks` in the job", "add `tasks:` with a list below it"),
        ("tasks: []", "`tasks` must not be empty", ""),
        ("tasks:", "`tasks` must be a list of tasks, not null (the value is empty)", ""),
        ("tasks: {a: {target: a:b}}", "`tasks` must be a list of tasks, not a mapping", "start each task with `- `"),
        ("- target: a:b", "a job file must be a mapping with `tasks`, not a list", ""),
        ("tasks", "a job file must be a mapping with `tasks`, not a string", ""),
        ("tasks: [{function: a:b}]", "unknown key `function` in task `Process-1`", "did you mean `target`?"),
        ("tasks: [a:b]", "task `Process-1` must be a mapping with a `target`, a `command` or `uses`, not the string `a:b`", "write `target: a:b`"),
        ("tasks: [{command: x, args: [1]}]", "task `Process-1` has both `command` and `args`", "put the arguments in the `command` list"),
        ("tasks: [{target: a:b}]\njoin: [{timeout: 1}]", "missing key `task` in item 1 of `join`", "add `task:`"),
        ("tasks: [{target: a:b}]\njoin: [{task: x, timeout: soon}]", "`timeout` in item 1 of `join` must be a duration: seconds, or a string such as `500ms`, `1m30s` or `2h`, not the string `soon`", ""),
        ("tasks: [{target: a:b}]\ndefaults: {name: a}", "unknown key `name` in `defaults`", "set it on each task: it cannot be a default"),
        ("tasks: [{target: a:b}]\nparams: {a: {secret: true, default: 3}}", "`params.a` has both `secret` and `default`", "set a secret with `MPRUN_PARAM_NAME` or `-p NAME=@FILE`, not with a default"),
        ("tasks: [{target: a:b}]\nparams: {a: {typ: string}}", "unknown key `typ` in `params.a`", "did you mean `type`?"),
        ("tasks: [{target: a:b}]\nparams: {a: {type: str}}", "`params.a.type` must be one of `string`, `integer`, `number`, `boolean`, `list`, not the string `str`", "did you mean `string`?"),
        ("tasks: [{target: a:b}]\nparams: {1a: 2}", "`1a` in `params` is not a valid param name: use a letter, then letters, digits, `_` and `-`", ""),
    ],
)  # fmt: skip
def test_a_mistake_in_the_job_is_explained(text, message, help):
    assert messages(text) == [(message, help)]


def test_all_diagnostics_are_reported_at_once_in_the_order_of_the_file():
    diagnostics = check("max_parallel: x\ntasks:\n  - target: a\n    daemon: no\n  - {target: 1}\n")
    assert [p.span.line for p in diagnostics] == [1, 3, 4, 5]


def test_at_most_a_hundred_diagnostics_are_reported():
    assert len(check("tasks:\n" + "  - {target: 1}\n" * 5000)) == 100


def test_when_the_two_checks_disagree_there_is_still_a_diagnostic(monkeypatch):
    monkeypatch.setattr(FastValidator, "is_valid", lambda self, value: False)
    (diagnostic,) = check("tasks: [{target: a:b}]")
    assert diagnostic.message == "the job does not match its schema"


LIBRARY_WORDS = (
    "is not of type",
    "does not match",
    "is not valid under",
    "Additional properties",
    "is a required",
    "is too",
)

# Text that Python writes as JSON and YAML can read: no surrogates, and no DEL.
TEXT = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2000), st.floats(), TEXT,
    st.sampled_from(["a:b", "${params.x}", "5s", "fork", "x" * 300, "a\x1bb", "\u202e"]),
)  # fmt: skip
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.sampled_from([*JOB["definitions"]["task"]["properties"], "x-a"]),
                TEXT,
                st.integers(),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)
VALID = [parse(EVERYTHING, "f").root, parse(REFERENCES, "f").root]


def as_plain(node):
    if isinstance(node, dict):
        return {key: as_plain(below) for key, below in node.items()}
    return [as_plain(below) for below in node] if isinstance(node, list) else node


def mutate(tree, seed, junk):
    """Put junk into a valid job at some places, or remove or rename a key."""
    chance = random.Random(seed)
    tree = as_plain(tree)
    for _ in range(chance.randint(1, 3)):
        node = tree
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(node[key], (dict, list)) and chance.random() < 0.8:
                node = node[key]
                continue
            action = chance.randrange(4)
            if action == 0:
                del node[key]
            elif action == 1 and isinstance(node, dict):
                node[chance.choice(["x-y", "tasks", "args", "with", "z"])] = copy.deepcopy(junk)
            else:
                node[key] = copy.deepcopy(junk)
            break
    return tree


def is_json(node):
    """Whether it can be written as JSON: jsonschema crashes on other keys, and takes NaN for a number."""
    if isinstance(node, dict):
        return all(isinstance(key, str) and is_json(below) for key, below in node.items())
    if isinstance(node, list):
        return all(is_json(below) for below in node)
    return not isinstance(node, float) or (abs(node) < 1e300 and not node.is_integer())


@given(tree=st.sampled_from(VALID), seed=st.integers(), junk=JUNK)
@settings(max_examples=250, deadline=None)
def test_the_fast_validator_agrees_with_jsonschema(tree, seed, junk):
    job = mutate(tree, seed, junk)
    quick = FastValidator(JOB).is_valid(job)
    if is_json(job):
        assert quick == jsonschema.Draft7Validator(JOB).is_valid(job)


@given(tree=st.sampled_from(VALID), seed=st.integers(), junk=JUNK)
@settings(max_examples=120, deadline=None)
def test_every_violation_is_explained_in_plain_words(tree, seed, junk):
    job = mutate(tree, seed, junk)
    text = json.dumps(
        job
    )  # JSON is YAML, except for NaN, which is read as a string, and for keys, which become strings.
    document = parse(text.replace("\x7f", "?"), "f.yaml")
    valid = FastValidator(JOB).is_valid(document.root)
    diagnostics = job_schema.check(document)
    assert valid == (not diagnostics)
    for diagnostic in diagnostics:
        assert not any(words in diagnostic.message for words in LIBRARY_WORDS)
        assert diagnostic.message != "the job does not match its schema"
        assert len(diagnostic.message) < 400
    assert render(diagnostics).replace("\n", "").isprintable()


def test_no_message_quotes_more_than_200_characters_of_the_file():
    z = "z" * 900  # A longer text is not a key: YAML 1.2.2, section 7.4.2.
    texts = [
        f"tasks: [{{name: {z[:99]}, target: {z}}}]",
        f"tasks: [{{name: {z}, target: {z}, {z}: {z}}}]",
        f"tasks: [{{name: {z[:99]}, target: a:b, env: {{{z}: 1, {z}=: x}}, matrix: {{{z}: {z}}}}}]",
        f"tasks: [{{target: a:b, depends_on: {{{z}: {z}}}}}]\nparams: {{{z}: {{{z}: 1, type: {z}}}}}",
        f"tasks: {z}\n{z}: 1",
        f'tasks: ["{z}:z"]\ntimeout: "{"9" * 3000}s"',
    ]
    for text in texts:
        diagnostics = check(text)
        assert diagnostics
        for diagnostic in diagnostics:
            assert diagnostic.message.count("z") + diagnostic.help.count("z") <= 200, diagnostic.message


# -- speed and safety


def test_a_valid_job_does_not_import_jsonschema():
    code = (
        "import sys; from mprun.jobfile.syntax import document as loader; from mprun.jobfile.schema import job_schema as schema\n"
        "assert schema.check(loader.parse('tasks: [{target: a:b}]', 'f')) == []\n"
        "print('jsonschema' in sys.modules, 'difflib' in sys.modules)\n"
        "assert schema.check(loader.parse('tasks: [{targe: a:b}]', 'f'))\n"
        "print('jsonschema' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split() == ["False", "False", "True"], done.stderr


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert check("$schema: http://127.0.0.1:1/evil.json\ntasks: [{target: a}]")


def test_ten_thousand_tasks_are_checked_quickly():
    text = "tasks:\n" + "".join(
        f"- {{name: t{n}, target: a:b, args: [{n}], depends_on: [t0]}}\n" for n in range(10_000)
    )
    document = parse(text, "f")
    with quick(1.5):
        assert job_schema.check(document) == []


@pytest.mark.parametrize(
    "text",
    [
        "tasks:\n" + "- target: a:b\n" * 20_000 + "- target: a\n",
        "tasks: [{target: a:b, env: {" + ",".join(f"k{n}: x" for n in range(20_000)) + ", 1: x}}]",
        'timeout: "' + "1s   " * 11 + '!"\ntasks: [{target: a:b}]',
        "timeout: " + "1m" * 100_000 + "\ntasks: [{target: a:b}]",
        'timeout: "${' + "x" * 300_000 + '"\ntasks: [{target: a:b}]',
        'tasks: [{target: "' + "a." * 150_000 + '"}]',
        'tasks: [{target: a:b, ready: {tcp: "' + "a:" * 150_000 + '"}}]',
        "\n".join("z" * 90 + f"{n}: 1" for n in range(3000)),
        "a: &a " + "x" * 400_000 + "\nb: &b [" + "*a," * 19 + "]\ntasks: [{target: *b, name: *b, args: 1}]",
    ],
    ids=["last", "keys", "spaces", "duration", "reference", "target", "port", "unknown", "alias"],
)
def test_a_hostile_file_is_refused_quickly(text):
    import jsonschema.validators  # noqa: F401

    with quick(3):
        try:
            diagnostics = check(text)
        except JobFileError as error:
            diagnostics = error.diagnostics
        assert diagnostics
        assert render(diagnostics)


@pytest.mark.parametrize(
    "text",
    [
        "tasks:\n" + "- {target: a:b, name: x, args: [1]}\n" * 10_000 + "- target: a\n",
        "tasks: [{target: a:b, env: {" + ",".join(f"k{n}: x" for n in range(20_000)) + ", 1: x}}]",
    ],
    ids=["tasks", "keys"],
)
def test_one_error_in_a_large_file_is_found_without_explaining_the_rest(text, monkeypatch):
    looked_at = []
    descend = jsonschema.Draft7Validator.descend
    original = jsonschema.validators.extend

    def counting(*args, **kwargs):
        validator = original(*args, **kwargs)
        validator.descend = lambda self, *a, **k: looked_at.append(1) or descend(self, *a, **k)
        return validator

    monkeypatch.setattr(jsonschema.validators, "extend", counting)
    assert len(check(text)) == 1
    assert 0 < len(looked_at) < 20


def test_after_a_hundred_wrong_tasks_no_other_is_looked_at(monkeypatch):
    tested = []
    test = FastValidator.test

    def counting(self, schema):
        if schema != {"$ref": "#/definitions/task"}:
            return test(self, schema)
        return lambda value: tested.append(value) or test(self, schema)(value)

    root = parse("tasks:\n" + "- target: a\n" * 5000, "f").root
    validator = FastValidator(JOB)
    monkeypatch.setattr(FastValidator, "test", counting)
    assert len(list(itertools.islice(violations(validator, JOB, root), 100))) == 100
    assert len(tested) < 120


# -- events


def example_event(kind):
    part = EVENT["definitions"][kind]
    made = {"event": kind, "time": "2026-01-01T12:00:01.101Z", "run": "r1"}
    samples = {
        "string": "x",
        "integer": 2,
        "number": 0.5,
        "boolean": True,
        "array": [],
        "object": {},
        "null": None,
    }
    for name in part["required"]:
        rule = part["properties"][name]
        types = rule.get("type", "null")
        made[name] = (
            rule["enum"][0] if "enum" in rule else samples[types if isinstance(types, str) else types[-1]]
        )
    return made


@pytest.mark.parametrize("kind", sorted(EVENT["definitions"]))
def test_each_event_is_checked_by_its_kind(kind):
    validator = jsonschema.Draft7Validator(EVENT)
    event = example_event(kind)
    validator.validate(event)
    validator.validate({**event, "newer": 1})
    for name in EVENT["definitions"][kind]["required"]:
        assert not validator.is_valid({key: below for key, below in event.items() if key != name}), name


def test_an_event_of_a_kind_that_is_not_known_may_pass():
    jsonschema.Draft7Validator(EVENT).validate({"event": "newer", "time": "2026-01-01T12:00:01Z", "run": "r"})


def test_the_schema_of_events_has_every_field_of_every_event():
    for kind, event in KINDS.items():
        own = set(event._fields) - {"time", "run"}
        assert own <= EVENT["definitions"][kind]["properties"].keys(), kind
        assert set(EVENT["definitions"][kind]["required"]) <= own, kind


def test_the_format_of_today_is_valid():
    event = example_event("run_started") | {"format": FORMAT}
    jsonschema.Draft7Validator(EVENT).validate(event)


def test_explanations_never_quote_a_whole_value():
    assert explain._MAX_VALUE + explain._MAX_NAME + 2 * explain._MAX_KEY <= 200


def patterns_of(schema):
    """Every pattern for a text in a schema."""
    if isinstance(schema, dict):
        found = schema.get("pattern")
        if isinstance(found, str):
            yield found
        schema = schema.values()
    if not isinstance(schema, str | int | float | bool | None):
        for part in schema:
            yield from patterns_of(part)


@pytest.mark.parametrize("pattern", sorted({*patterns_of(json.loads(job_schema.schema_text("job")))}))
@pytest.mark.parametrize("begin", ["", "${", "http://", "a:", "1"])
@pytest.mark.parametrize("unit", ["a", "${a", "${", "${a}", "a.", "a:", "1s", "1", "-", "${a} "])
def test_no_pattern_of_the_schema_takes_long_for_any_text(pattern, begin, unit):
    """A text of the file is not trusted: a pattern that starts over at each character would take hours."""
    with quick(1):
        for end in ("", " ", "}", "{"):
            re.search(pattern, begin + unit * (100_000 // len(unit)) + end)

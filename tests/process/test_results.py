"""What a task returns, from its process to every reader: other tasks, the record, the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import START_METHODS, mprun, write

WORK = """\
    VALUES = [2**63, -2**63 - 1, 1e20, 5e-324, 10**400, [{"deep": [2**64, 1e300]}], "\\udc80é\\u2028\\0"]

    def value(number=None):
        return VALUES if number is None else VALUES[number]

    def check(found, number=None, item=None):
        assert found == value(number), found
        assert item is None or item in VALUES

    def gate():
        import os
        assert os.path.exists("mended")

    def nested(depth, kind):
        found = 1
        for _ in range(depth):
            found = [found] if kind == "list" else {"a": found}
        return found

    def measure(found):
        depth = 0
        while isinstance(found, (list, dict)):
            found, depth = (found[0] if isinstance(found, list) else found["a"]), depth + 1
        return depth
"""
KEPT = """\
    start_method: %s
    tasks:
    - {name: all, target: 'work:value'}
    - {name: one, matrix: {n: [0, 1, 2, 3, 4, 5, 6]}, target: 'work:value', args: ['${matrix.n}']}
    - {name: gate, target: 'work:gate'}
    - {name: each, foreach: '${tasks.all.result}', target: 'work:check', depends_on: gate,
       args: ['${tasks.all.result}'], kwargs: {item: '${item}'}}
    - {name: use, target: 'work:check', args: ['${tasks.all.result.0}', 0], depends_on: gate}
    - {name: every, target: 'work:check', args: ['${tasks.one.result}'], depends_on: gate}
    - {name: again, target: 'work:value', depends_on: gate, expect: {result: '${tasks.all.result}'}}
    - {name: print, command: [printf, '%%s', '${tasks.all.result.4}'], depends_on: gate}
"""


@pytest.mark.parametrize("method", START_METHODS)
def test_a_number_of_any_size_reaches_every_reader(tmp_path, method):
    """C01"""
    write(tmp_path, work=WORK, job=KEPT % method)
    assert mprun("job.yaml", cwd=tmp_path).code == 1
    Path(tmp_path, "mended").touch()
    run = mprun("resume", cwd=tmp_path)
    assert run.code == 0, run.stderr
    reused = {event["task"] for event in run.of("task_finished") if event["reused"]}
    assert reused == {"all", *(f"one[n={n}]" for n in range(7))}
    assert run.log("print").decode() == str(10**400)
    assert len(run.of("task_started")) == 12
    shown = mprun("show", cwd=tmp_path)
    assert (shown.code, "left out" in shown.stderr, "waiting" in shown.stdout) == (0, False, False)
    assert "one[n=0]  9223372036854775808\n" in shown.stdout
    found = json.loads(mprun("show", "--json", cwd=tmp_path).stdout)
    values = {task["task"]: task["result"] for task in found["tasks"]}
    assert values["all"] == [values[f"one[n={n}]"] for n in range(7)]
    assert values["all"][4] == 10**400
    logs = mprun("logs", "print", cwd=tmp_path)
    assert (logs.stdout, logs.stderr) == (str(10**400), "")
    assert mprun("resume", cwd=tmp_path).stderr.endswith(
        "there is nothing to resume (to run tasks of it again, use `--rerun GLOB`)\n"
    )
    assert "left out" not in mprun("runs", cwd=tmp_path).stderr


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("depth", [150, 600, 880])
def test_a_result_of_any_depth_reaches_every_reader(tmp_path, depth, kind):
    """C01"""
    job = f"""\
        tasks:
        - {{name: a, target: 'work:nested', args: [{depth}, {kind}]}}
        - {{name: b, target: 'work:measure', args: ['${{tasks.a.result}}']}}
        - {{name: c, command: [printf, '%s', 'x${{tasks.a.result}}'], when: '${{tasks.a.result}}'}}
        - name: d
          target: work:nested
          args: [{depth}, {kind}]
          expect: {{result: '${{tasks.a.result}}'}}
        - {{name: l, target: 'work:nested', args: [{depth}, list]}}
        - {{name: e, foreach: '${{tasks.l.result}}', target: 'work:measure', args: ['${{item}}']}}
        - {{name: f, command: [printf, '%s', '${{item}}'], foreach: '${{tasks.l.result}}'}}
    """
    write(tmp_path, work=WORK, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    assert (run.code, run.result("b"), run.result("e[0]")) == (0, depth, depth - 1), run.stderr
    assert run.log("c") == (b"x" + json.dumps(nested(depth, kind)).encode())
    assert run.one("task_finished", "a")["result_kind"] == "file"
    for command in ("show", "show --json", "logs", "tree"):
        done = mprun(*command.split(), cwd=tmp_path)
        assert (done.code, done.stderr) == (0, "")


def nested(depth, kind):
    found = 1
    for _ in range(depth):
        found = [found] if kind == "list" else {"a": found}
    return found


# ---- results that are not JSON


RETURNS = """\
    import dataclasses, datetime, pathlib

    @dataclasses.dataclass
    class Point:
        x: int

    class int64(float):
        pass

    KINDS = {
        "path": pathlib.PurePosixPath("x"),
        "datetime": {"at": [datetime.datetime(2026, 1, 1)]},
        "dataclass": Point(1),
        "keys": {"by": {1: "a", "1": "b"}},
    }

    def get(kind):
        return KINDS[kind]

    def use(*args, **kwargs):
        pass
"""
SAYS = {
    "path": ("a PurePosixPath, which is not JSON", "return a string instead"),
    "datetime": ("a dict with a datetime at `at.0`, which is not JSON", "return its `isoformat()` instead"),
    "dataclass": ("a Point, which is not JSON", "return `dataclasses.asdict(...)` of it instead"),
    "keys": (
        "a dict with a dict with the keys 1 and '1' at `by`, which are the same key in JSON",
        "use strings as keys",
    ),
}
RECEIVERS = {
    "args": "{name: use, target: 'work:use', args: ['${tasks.get.result}']}",
    "kwargs": "{name: use, target: 'work:use', kwargs: {a: 'x${tasks.get.result.at}'}}",
    "command": "{name: use, command: [echo, '${tasks.get.result}']}",
    "env": "{name: use, command: [env], env: {A: '${tasks.get.result}'}}",
    "cwd": "{name: use, command: [env], cwd: '${tasks.get.result}'}",
    "when": "{name: use, target: 'work:use', when: '${tasks.get.result}'}",
    "foreach": "{name: use, target: 'work:use', foreach: '${tasks.get.result}'}",
    "expect": "{name: use, target: 'work:use', expect: {result: '${tasks.get.result}'}}",
    "recipe": "{name: use, uses: job_part.yaml, with: {x: '${tasks.get.result}'}}",
}


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("kind", SAYS)
def test_a_result_that_cannot_be_passed_on_is_warned_of_as_soon_as_it_is_there(tmp_path, kind, method):
    """C31: with its type, where it is, and what to return instead."""
    job = f"""\
        start_method: {method}
        tasks:
        - {{name: get, target: 'work:get', args: [{kind}]}}
        - {{name: wait, command: 'until grep warning err; do sleep 0.01; done', depends_on: get}}
        - {{name: use, target: 'work:use', args: ['${{tasks.get.result}}'], depends_on: wait}}
    """
    write(tmp_path, work=RETURNS, job=job)
    with open(tmp_path / "err", "wb") as stderr:
        run = mprun("job.yaml", cwd=tmp_path, stderr=stderr)
    what, remedy = SAYS[kind]
    text = f"`get` returned {what}, so `use` cannot receive it; {remedy}"
    assert (run.code, run.one("task_finished", "use")["reason"]) == (1, text)
    assert (tmp_path / "err").read_text().count(f"warning: {text}\n") == 1
    assert run.one("task_finished", "get")["outcome"] == "succeeded"


@pytest.mark.parametrize("how", RECEIVERS)
def test_a_result_that_cannot_be_passed_on_is_warned_of_however_it_is_referred_to(tmp_path, how):
    """C31"""
    part = "params: {x: null}\ntasks: [{name: y, target: 'work:use', args: ['${params.x}']}]\n"
    job = f"tasks:\n- {{name: get, target: 'work:get', args: [path]}}\n- {RECEIVERS[how]}\n"
    write(tmp_path, work=RETURNS, job=job, job_part=part)
    run = mprun("job.yaml", cwd=tmp_path)
    receiver = "use/y" if how == "recipe" else "use"
    text = f"`get` returned {SAYS['path'][0]}, so `{receiver}` cannot receive it; return a string instead"
    assert run.code == 1
    assert run.stderr.count(f"warning: {text}\n") == 1, run.stderr
    assert text in run.one("task_finished", receiver)["reason"]


def test_instances_with_such_results_are_warned_of_once(tmp_path):
    """C31"""
    job = """\
        tasks:
        - {name: m, matrix: {n: [1, 2, 3]}, target: 'work:get', args: [path]}
        - {name: items, command: [echo]}
        - {name: one, target: 'work:use', args: ['${tasks.m.result}']}
        - {name: two, matrix: {n: [1, 2]}, target: 'work:use', args: ['${tasks.m.result}']}
        - {name: unused, target: 'work:get', args: [path]}
    """
    write(tmp_path, work=RETURNS, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    warnings = [line for line in run.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1, warnings
    assert warnings[0].endswith("so `one` and 2 other tasks cannot receive it; return a string instead")


def test_a_result_that_is_nested_too_deeply_is_warned_of(tmp_path):
    """C31"""
    job = "tasks:\n- {name: get, target: 'work:nested', args: [940, list]}\n"
    job += "- {name: use, target: 'work:measure', args: ['${tasks.get.result}']}\n"
    write(tmp_path, work=WORK, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    text = "`get` returned a value that is nested too deeply, so `use` cannot receive it"
    assert (run.code, run.stderr.count(f"warning: {text}")) == (1, 1)


def test_only_those_who_select_an_instance_with_such_a_result_are_named(tmp_path):
    """C31, C43"""
    job = """\
        max_parallel: 1
        tasks:
        - {name: kinds, command: [echo, '["path", "datetime"]'], capture: json}
        - {name: m, foreach: [path, datetime, keys], target: 'work:get', args: ['${item}']}
        - {name: late, foreach: '${tasks.kinds.result}', target: 'work:get', args: ['${item}']}
        - {name: use, foreach: [keys, datetime], target: 'work:use', args: ['${tasks.m[${item}].result}']}
        - {name: of_late, foreach: [datetime], target: 'work:use', args: ['${tasks.late[${item}].result}']}
    """
    write(tmp_path, work=RETURNS, job=job)
    run = mprun("job.yaml", cwd=tmp_path)
    what, remedy = SAYS["datetime"]
    # No task takes the results of the first instances.
    assert [line for line in run.stderr.splitlines() if line.startswith("warning: ")] == [
        f"warning: `{giver}` returned {what}, so `{receiver}` cannot receive it; {remedy}"
        for giver, receiver in (("m[1]", "use[1]"), ("late[1]", "of_late[0]"))
    ]

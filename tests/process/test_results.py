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

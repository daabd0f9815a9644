"""A reference to the result of a command without `capture`, always null, is warned of with its place."""

from __future__ import annotations

import pytest
from support.desk import Desk
from support.runs import mprun

from mprun.jobfile.null_results import MAX_WARNINGS


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def warned(job):
    return [
        f"{one.source.path.rpartition('/')[2]}:{one.span.line}:{one.span.column} {one.message}; {one.help}"
        for one in job.warnings
    ]


def warning(place, name, what="its result is always null"):
    return f"{place} `{name}` is a command without `capture`, so {what}; add `capture: text`"


COMMANDS = """
tasks:
  - {name: gate, command: "true", allow_failure: true}
  - {name: fit, command: "true", matrix: {n: [1, 2]}}
  - {name: list, command: "echo 1", capture: lines}
  - {name: each, command: "true", foreach: "${tasks.list.result}"}
"""


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ('target: "m:f", args: ["${tasks.gate.result}"]', "gate"),
        ('target: "m:f", kwargs: {x: [{y: "${tasks.gate.result.z}"}]}', "gate"),
        ('command: [echo, "see ${tasks.gate.result}"]', "gate"),
        ('command: "true", when: "${tasks.gate.result}", depends_on: {gate: finished}', "gate"),
        ('command: [echo, "${item}"], foreach: "${tasks.gate.result}"', "gate"),
        ('command: [echo, "${item}"], foreach: [1, "${tasks.gate.result}"]', "gate"),
        ('command: [echo, "${matrix.n}"], matrix: {n: "${tasks.gate.result}"}', "gate"),
        ('command: "true", env: {A: "${tasks.gate.result}"}', "gate"),
        ('command: "true", cwd: "${tasks.gate.result}"', "gate"),
        ('target: "m:f", expect: {result: "${tasks.gate.result}"}', "gate"),
        ('uses: echo.yaml, with: {text: "${tasks.gate.result}"}', "gate"),
        ('uses: echo.yaml, when: "${tasks.gate.result}"', "gate"),
        ('target: "m:f", args: ["${tasks.fit[n=1].result}"]', "fit"),
        ('target: "m:f", args: ["${tasks.fit[${matrix.n}].result}"], matrix: {n: [1, 2]}', "fit"),
    ],
)
def test_every_reference_to_it_is_warned_of_once(keys, name, desk):
    recipe = "{params: {text: x}, tasks: [{name: t, command: [echo, '${params.text}'], capture: text}]}"
    line = f"  - {{name: task, {keys}}}"
    job = desk.job(job=f"{COMMANDS.strip()}\n{line}\n", echo=recipe)
    column = line.index("${tasks") + 1
    assert warned(job) == [warning(f"job.yaml:6:{column}", name)]


@pytest.mark.parametrize("name", ["fit", "each", "items"])
def test_the_results_of_a_group_are_a_list_of_nulls(name, desk):
    items = '  - {name: items, command: "true", foreach: [1, 2]}'
    line = f'  - {{name: task, target: "m:f", args: ["${{tasks.{name}.result}}"]}}'
    job = desk.job(job=f"{COMMANDS.strip()}\n{items}\n{line}\n")
    column = line.index("${tasks") + 1
    assert warned(job) == [warning(f"job.yaml:7:{column}", name, "its results are all null")]


def test_a_recipe_of_which_every_result_is_null_is_one_too(desk):
    job = desk.job(
        quiet="""\
            tasks:
              - {name: a, command: "true"}
              - {name: b, command: [echo, "${tasks.a.result}"]}
            """,
        mixed="tasks: [{name: a, command: 'true'}, {name: b, command: 'echo 1', capture: text}]",
        job="""\
            tasks:
              - {name: q, uses: quiet.yaml, foreach: [1, 2]}
              - {name: m, uses: mixed.yaml}
              - {name: c, command: [echo, "${tasks.q.result}"]}
              - {name: d, command: [echo, "${tasks.m.result}", "${tasks.m/b.result}"]}
              - {name: e, command: [echo, "${tasks.m/a.result}"]}
            """,
    )
    # The places of a recipe are warned of once, for the first task that uses it.
    assert [one.rpartition(" is a command")[0] for one in warned(job)][1:] == [
        "quiet.yaml:3:32 `q[1]/a`",
        "job.yaml:4:32 `q[0]/a`",
        "job.yaml:6:32 `m/a`",
    ]


def test_other_references_are_not(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: gate, command: "true"}
          - {name: say, command: "true", capture: text}
          - {name: call, target: "m:f"}
          - {name: a, command: [echo, "${tasks.say.result} ${tasks.call.result}"], depends_on: gate}
          - {name: b, command: [echo, "$${tasks.gate.result}"], depends_on: gate}
        """
    )
    assert warned(job) == []


def test_no_one_reads_a_thousand_warnings(desk):
    tasks = "".join(f'  - {{name: t{n}, command: [echo, "${{tasks.g.result}}"]}}\n' for n in range(1000))
    job = desk.job(job=f'tasks:\n  - {{name: g, command: "true"}}\n{tasks}')
    assert len(job.warnings) == MAX_WARNINGS


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_every_command_that_reads_a_job_prints_it(command, desk):
    desk.write(
        job="""\
        tasks:
          - {name: gate, command: "true"}
          - {name: after, command: [echo, "see ${tasks.gate.result}"]}
        """
    )
    done = mprun(command, "job.yaml", cwd=desk.path)
    assert done.code == 0
    expected = warning("job.yaml:3:40:", "gate")
    assert [line for line in done.stderr.splitlines() if line.startswith("warning")] == [
        f"warning: {expected}"
    ]

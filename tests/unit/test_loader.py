"""Job files become a Job: scopes, precedence, recipes, spans of errors, limits. No process is started."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.desk import Desk, views
from support.timing import cpu_seconds, growth, quick

from mprun import api
from mprun.errors import JobFileError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.resolution import Resolver, resolve

SECRET = "s3cr3t-7f1e"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# ---- references to results are dependencies


SERVING = """
    tasks:
      - {name: s, command: sleep 9, daemon: true, ready: {file: up}}
      - {name: go, command: echo hi, capture: text, depends_on: s}
    """


@pytest.mark.parametrize(
    ("use", "before", "reference"),
    [
        ("uses: serving.yaml", "r", "r/go"),
        ("uses: serving.yaml, foreach: [a, b]", "r", "r[0]/go"),
        ("uses: serving.yaml, foreach: [a, b]", "r[0]", "r[0]/go"),
        ("uses: serving.yaml, matrix: {n: [1, 2]}", "r", "r[n=2]/go"),
        ("uses: outer.yaml", "r", "r/in/go"),
        ("uses: outer.yaml", "r/in", "r/in/go"),
        ("uses: outer.yaml, foreach: [a, b]", "r", "r[1]/in/go"),
    ],
)
def test_a_task_after_a_recipe_waits_only_for_the_results_that_it_takes(use, before, reference, desk):
    """A daemon of the recipe is ready, and need not end."""
    result = f"${{tasks.{reference}.result}}"
    job = desk.job(
        serving=SERVING,
        outer="tasks: [{name: in, uses: serving.yaml}]",
        job=f"""
        tasks:
          - {{name: r, {use}}}
          - {{name: after, command: [echo, "{result}"], depends_on: "{before}"}}
          - {{name: user, uses: plain.yaml, with: {{text: "{result}"}}, depends_on: "{before}"}}
        """,
        plain="{params: {text: ''}, tasks: [{name: t, command: [echo, '${params.text}']}]}",
    )
    needs = {
        job.tasks[number].name: {(job.tasks[need].name, condition) for need, condition in found}
        for number, found in enumerate(job.needs)
    }
    assert needs["after"] == needs["user/t"]
    assert (reference, "passed") in needs["after"]
    assert {condition for need, condition in needs["after"] if need.endswith("/s")} == {"ready"}


def test_each_item_of_a_literal_list_has_its_own_dependencies(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: b, target: "m:f"}
          - {name: each, target: "m:f", foreach: ["${tasks.a.result}", {x: {y: "${tasks.b.result}"}}, 3],
             args: ["${item}"]}
        """
    )
    assert needs == {"a": [], "b": [], "each[0]": ["a"], "each[1]": ["b"], "each[2]": []}


def test_items_that_a_recipe_gets_from_outside_have_their_dependencies(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: u, uses: r.yaml, with: {p: "${tasks.a.result}"}}
        """,
        r="""
        params: {p: null}
        tasks: [{name: each, target: "m:f", foreach: ["x ${params.p}", 2], args: ["${item}"]}]
        """,
    )
    assert needs == {"a": [], "u/each[0]": ["a"], "u/each[1]": []}


def test_a_variable_of_the_job_that_a_task_refers_to_and_overrides_is_still_a_dependency(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: u, uses: r.yaml, with: {p: "${tasks.a.result}"}}
        """,
        r="""
        params: {p: null}
        env: {A: "${params.p}"}
        tasks: [{name: i, target: "m:f", args: ["${env.A}"], env: {A: own}}]
        """,
    )
    assert needs == {"a": [], "u/i": ["a"]}


# ---- expected results


@pytest.mark.parametrize("more", ["", "matrix: {n: [1, 2]}, ", "foreach: [1, 2], "])
def test_an_expected_result_may_refer_to_the_result_of_another_task(desk, more):
    item = {"": "", "m": "-${matrix.n}", "f": "-${item}"}[more[:1]]
    needs = desk.needs(
        job=f"""
        params: {{p: x}}
        tasks:
          - {{name: a, target: "m:f"}}
          - {{name: b, target: "m:f", {more}expect: {{result: "${{tasks.a.result}}${{params.p}}{item}"}}}}
        """
    )
    assert all(before == ["a"] for name, before in needs.items() if name != "a")


def test_an_escaped_reference_stays_literal_in_expect_and_in_items(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: a, target: "m:f", expect: {result: "$${params.x}"}}
          - {name: b, target: "m:f", foreach: ["$${a}"], args: ["${item}"]}
        """
    )
    assert job.tasks[0].task.expect.result == "${params.x}"
    assert job.tasks[1].values == ("${a}",)


def test_the_text_of_a_param_has_no_references(desk):
    job = desk.job(
        'l=["${tasks.b.result}", "${"]',
        job="""
        params: {l: {type: list}, s: x}
        tasks:
          - {name: b, target: "m:f", foreach: "${params.l}", args: ["${item}"]}
        """,
    )
    assert [instance.values for instance in job.tasks] == [("${tasks.b.result}",), ("${",)]
    assert job.needs == ((), ())
    assert '"args": ["${tasks.b.result}"]' in views(job)


# ---- depends_on with values of an instance


@pytest.mark.parametrize(
    "depends_on", ["${matrix.n}", ["${matrix.n}"], ["${matrix.d}"], ["a", "${matrix.l}"]], ids=str
)
def test_a_dependency_from_a_matrix_must_be_a_name(desk, depends_on):
    text = repr(depends_on).replace("'", '"')
    diagnostics = desk.diagnostics(
        job=f"""
        tasks:
          - {{name: a, target: "m:f"}}
          - name: b
            target: m:f
            matrix: {{n: [1], include: [{{n: 2, d: a, l: [a]}}]}}
            depends_on: {text}
        """
    )
    assert diagnostics
    assert all(diagnostic.startswith("7:") for diagnostic in diagnostics)


def test_names_with_the_values_of_a_matrix_are_dependencies(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: a1, target: "m:f"}
          - {name: a2, target: "m:f"}
          - {name: b, target: "m:f", matrix: {n: [1, 2]}, depends_on: {"a${matrix.n}": finished}}
          - {name: c, target: "m:f", foreach: [1, 2], depends_on: ["a${item}", "b[n=${item}]"]}
        """
    )
    assert needs["b[n=1]"] == ["a1"]
    assert needs["b[n=2]"] == ["a2"]
    assert needs["c[1]"] == ["a2", "b[n=2]"]


def test_a_dependency_cannot_be_an_item_that_is_known_during_the_run(desk):
    (diagnostic,) = desk.diagnostics(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - name: b
            target: m:f
            foreach: ${tasks.a.result}
            depends_on: ["${item}"]
        """
    )
    assert diagnostic.startswith("7:")
    assert "only known while the run is in progress" in diagnostic


# ---- keys for the user's own use


@pytest.mark.parametrize("text", ["${oops", "${foo.bar}", "${params.none}", "${tasks.none.result}"])
def test_keys_that_start_with_x_are_never_read(desk, text):
    job = desk.job(
        job=f"""
        x-top: "{text}"
        defaults: {{x-all: "{text}"}}
        tasks:
          - {{name: b, target: "m:f", matrix: {{n: [1, 2]}}, x-note: "{text}", timeout: "${{matrix.n}}"}}
          - {{name: c, target: "m:f", foreach: [1, 2], x-note: {{a: ["{text}"]}}}}
        """
    )
    assert len(job.tasks) == 4


# ---- params that are missing when a file is validated


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("list", 'tasks: [{target: "m:f", foreach: "${params.p}", args: ["${item}"]}]'),
        ("list", 'tasks: [{target: "m:f", foreach: ["${params.p}"], tags: ["${item}"]}]'),
        ("list", 'tasks: [{target: "m:f", matrix: {a: "${params.p}"}, args: ["${matrix.a}"]}]'),
        ("list", 'tasks: [{target: "m:f", matrix: "${params.p}", args: ["${matrix.a}"]}]'),
        (
            "list",
            'tasks: [{name: a, target: "m:f", matrix: {a: "${params.p}"}}, '
            '{target: "m:f", depends_on: "a[a=1]", args: ["${tasks.a[a=1].result}"]}]',
        ),
        (
            "integer",
            'tasks: [{name: b, target: "m:f", daemon: true, ready: {tcp: "${params.p}"}}, '
            '{target: "m:f", depends_on: {b: ready}}]',
        ),
        ("boolean", 'tasks: [{target: "m:f", daemon: "${params.p}", restart: always}]'),
        ("integer", 'resources: {db: "${params.p}"}\ntasks: [{target: "m:f", resources: {db: 3}}]'),
        ("integer", 'resources: {db: 2}\ntasks: [{target: "m:f", resources: {db: "${params.p}"}}]'),
        ("string", 'env_file: "${params.p}"\ntasks: [{target: "m:f"}]'),
        ("string", 'tasks: [{name: b, uses: "${params.p}", with: {q: 1}}, {target: "m:f", depends_on: b/x}]'),
        ("list", 'tasks: [{target: "m:f", foreach: "${params.p}", timeout: "${item}", retry: "${item}"}]'),
        ("list", 'defaults: {foreach: "${params.p}", timeout: "${item}"}\ntasks: [{target: "m:f", retry: "${item}"}]'),  # noqa: E501
        ("string", 'tasks: [{target: "m:f", matrix: {n: [1]}, tags: ["${params.p}${matrix.n}"]}]'),
        ("string", 'tasks: [{target: "m:f", matrix: {n: [1]}, depends_on: "${params.p}${matrix.n}"}]'),
        ("string", 'tasks: [{target: "m:f"}]\njoin: ["${params.p}"]'),
        ("string", 'tasks: [{target: "m:f", depends_on: ["${params.p}"]}]'),
        ("string", 'tasks: [{target: "m:f", expect: {result: ["${params.p}"], output: "${params.p}"}}]'),
        ("string", 'tasks: [{target: "m:f", when: "${params.p}", env: {A: "${params.p}"}}]'),
    ],
)  # fmt: skip
def test_a_file_whose_required_params_are_missing_is_valid(desk, kind, text):
    desk.job(lenient=True, job=f"params: {{p: {{type: {kind}, required: true}}}}\n{text}\n")


# ---- secrets


@pytest.mark.parametrize("declared", ["{type: integer}", "{enum: [a, b]}", "{type: string, pattern: '^x$'}"])
@pytest.mark.parametrize("given", ["${params.s}", "with ${params.s}"])
def test_a_secret_that_a_recipe_refuses_is_not_in_the_message(desk, declared, given):
    (diagnostic,) = desk.diagnostics(
        env={"MPRUN_PARAM_S": SECRET},
        job=f"""
        params: {{s: {{type: string, secret: true}}}}
        tasks: [{{name: u, uses: r.yaml, with: {{tok: "{given}"}}}}]
        """,
        r=f"params: {{tok: {declared}}}\ntasks: [{{target: 'm:f', args: ['${{params.tok}}']}}]",
    )
    assert "`tok` must" in diagnostic
    assert SECRET not in diagnostic


@pytest.mark.parametrize(
    "key",
    [
        'cwd: "${params.tok}"',
        'expect: {result: "${params.tok}"}',
        'tags: ["${params.tok}"]',
        'stop: {signal: "${params.tok}"}',
    ],
)
def test_a_secret_stays_one_in_a_recipe_whatever_it_is_called_there(desk, key):
    diagnostics = desk.diagnostics(
        env={"MPRUN_PARAM_S": SECRET},
        job="""
        params: {s: {type: string, secret: true}}
        tasks: [{name: u, uses: mid.yaml, with: {tok: "${params.s}"}}]
        """,
        mid="params: {tok: ''}\ntasks: [{name: m, uses: r.yaml, with: {tok: '<${params.tok}>'}}]",
        r=f"params: {{tok: ''}}\ntasks: [{{target: 'm:f', {key}}}]",
    )
    assert "is not allowed in" in diagnostics[0]
    assert SECRET not in "".join(diagnostics)


def test_a_task_result_is_not_a_secret_in_a_recipe_of_a_recipe(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: u, uses: mid.yaml, with: {p: "${tasks.a.result}"}}
        """,
        mid="params: {p: ''}\ntasks: [{name: m, uses: r.yaml, with: {q: '<${params.p}>'}}]",
        r="params: {q: ''}\ntasks: [{name: t, target: 'm:f', cwd: '${params.q}'}]",
    )
    assert job.needs == ((), ((0, "passed"),))


@pytest.mark.parametrize("key", ["cwd: '${env.A}'", "expect: {result: '${env.A}'}", "tags: ['${env.A}']"])
def test_a_variable_with_a_secret_in_it_is_one(desk, key):
    (diagnostic,) = desk.diagnostics(
        env={"MPRUN_PARAM_S": SECRET},
        job=f"""
        params: {{s: {{type: string, secret: true}}}}
        env: {{A: "-${{params.s}}-"}}
        tasks:
          - {{target: "m:f", args: ["${{env.A}}"], env: {{B: "${{env.A}}"}}, when: "${{env.A}}"}}
          - {{target: "m:f", {key}}}
        """,
    )
    assert diagnostic.startswith("6:")
    assert "is not allowed in" in diagnostic


def test_a_secret_is_in_no_view_of_a_plan(desk):
    job = desk.job(
        env={"MPRUN_PARAM_S": SECRET},
        job="""
        params: {s: {type: string, secret: true}}
        env: {A: "-${params.s}-"}
        tasks:
          - {name: a, target: "m:f", args: ["${params.s}", "${env.A}"], kwargs: {k: ["x${params.s}"]}}
          - {name: b, command: ["echo", "${params.s}"], env: {B: "${params.s}"}}
          - {name: c, command: "echo ${params.s}", when: "${params.s}", matrix: {n: [1]}}
          - {name: u, uses: r.yaml, with: {t: "${params.s}", e: "${env.A}"}, when: "${params.s}"}
        """,
        r="""
        params: {t: "", e: ""}
        env: {C: "${params.t}"}
        tasks:
          - {name: i, target: "m:f", args: ["${params.t}", "${params.e}", "${env.C}"], when: "${env.A}"}
          - {name: j, uses: s.yaml, with: {z: "<${params.t}>", y: "${env.C}"}, env: {D: "${params.t}"}}
        """,
        s="""
        params: {z: "", y: ""}
        tasks: [{name: i, target: "m:f", args: ["${params.z}", "${params.y}", "${env.C}"], command: null}]
        """.replace(", command: null", ""),
    )
    assert SECRET not in views(job)
    assert SECRET not in str(job.params)
    assert "***" in views(job)


# ---- env files


def test_an_invalid_reference_in_the_name_of_an_env_file_is_reported_with_its_position(desk):
    (diagnostic,) = desk.diagnostics(job="env_file: ${env.NOPE}.env\ntasks: [{target: 'm:f'}]")
    assert diagnostic == "1:11 environment variable `NOPE` is not set"


def test_an_env_file_cannot_be_the_result_of_a_task(desk):
    (diagnostic,) = desk.diagnostics(
        job="tasks: [{name: a, target: 'm:f'}, {uses: r.yaml, with: {p: '${tasks.a.result}'}}]",
        r="params: {p: ''}\nenv_file: ${params.p}\ntasks: [{target: 'm:f'}]",
    )
    assert diagnostic.startswith("2:11 `${params.p}` is not available here")


# ---- scopes and precedence


def test_variables_come_from_the_nearest_that_names_them(desk):
    (desk.path / "vars.env").write_text("FILE=file\nJOB=file\nOUT=file\n")
    job = desk.job(
        env={"OUT": "outside", "HOME": "/h"},
        job="""
        env_file: vars.env
        env: {JOB: "job ${env.FILE}", DEFAULT: job, TASK: job, SEEN: "${env.OUT}"}
        defaults: {env: {DEFAULT: default, TASK: default}}
        tasks:
          - {name: a, target: "m:f", env: {TASK: "task ${env.JOB}"}}
          - {name: u, uses: r.yaml, env: {RECIPE: user, TASK: user}}
        """,
        r="""
        env: {RECIPE: recipe, JOB: recipe, IN: "${env.OUT} ${env.JOB}"}
        tasks: [{name: i, target: "m:f", env: {RECIPE: inner}}]
        """,
    )
    own, inner = (call_env(task) for task in job.tasks)
    assert own == {
        "FILE": "file",
        "JOB": "job file",
        "OUT": "file",
        "DEFAULT": "default",
        "TASK": "task job file",
        "SEEN": "file",
    }
    assert (inner["RECIPE"], inner["TASK"], inner["JOB"]) == ("user", "user", "recipe")


def call_env(instance):
    lookup = Resolver(instance.task.scope, instance.task.axes, instance.values, reveal=True)
    return {name: resolve(value, lookup) for name, value in instance.task.env.items()}


def test_paths_are_relative_to_the_file_that_contains_them(desk):
    (desk.path / "parts").mkdir()
    desk.write(
        **{
            "parts/r": """
            cwd: work
            pythonpath: lib
            env_file: r.env
            tasks:
              - {name: i, target: "m:f"}
              - {name: j, target: "m:f", cwd: /abs}
              - {name: k, target: "m:f", cwd: ..}
            """
        }
    )
    (desk.path / "parts" / "r.env").write_text("A=1\n")
    job = desk.job(
        job="cwd: top\npythonpath: [., /x]\ntasks: [{name: u, uses: parts/r.yaml}, {target: 'm:f'}]"
    )
    top = str(desk.path)
    assert [task.task.cwd for task in job.tasks] == [f"{top}/parts/work", "/abs", top, f"{top}/top"]
    assert job.pythonpath == (top, "/x", f"{top}/parts/lib")
    assert [path for path, _ in job.files] == [
        f"{top}/{name}" for name in ("job.yaml", "parts/r.yaml", "parts/r.env")
    ]
    assert {len(digest) for _, digest in job.files} == {64}


def test_an_error_in_a_recipe_is_reported_at_its_position_in_that_file(desk):
    with pytest.raises(JobFileError) as caught:
        desk.job(
            job="tasks: [{name: u, uses: r.yaml, with: {p: 1}}]",
            r="params: {p: {type: integer}}\ntasks:\n  - {target: 'm:f', args: ['${params.q}']}",
        )
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.source.path, diagnostic.span.line) == (str(desk.path / "r.yaml"), 3)
    with pytest.raises(JobFileError) as caught:
        desk.job(
            job="tasks:\n  - {name: u, uses: r.yaml, with: {p: x}}",
            r="params: {p: {type: integer}}\ntasks:\n  - {target: 'm:f'}",
        )
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.source.path, diagnostic.span.line) == (str(desk.path / "job.yaml"), 2)


def test_an_error_of_one_instance_is_reported_at_its_key(desk):
    (diagnostic,) = desk.diagnostics(
        job="""
        tasks:
          - name: a
            target: m:f
            matrix: {t: [1s, soon]}
            timeout: ${matrix.t}
        """
    )
    assert diagnostic.startswith("6:14 ")
    assert "`soon`" in diagnostic


@pytest.mark.parametrize(
    ("value", "key", "message"),
    [
        ("always", "restart: ${matrix.v}", "6:12 `restart` is only valid for daemons (task `a` would never"),
        ("TREM", "stop: {signal: '${matrix.v}'}", "6:18 unknown signal `TREM`"),
        (
            "(",
            "daemon: true\n          ready: {log: '${matrix.v}'}",
            "7:16 invalid regular expression in `ready.log`",
        ),
        ("'['", "expect: {output: '${matrix.v}'}", "6:20 invalid regular expression in `expect.output`"),
        ("x", "tags: '${matrix.v}'", "6:9 `tags` of task `a` must be a list of strings, not the string `x`"),
        ("x", "limits: {'${matrix.v}': 1}", "6:12 unknown key `'${matrix.v}'` in `limits` of task `a`"),
    ],
)
def test_resolved_keys_are_checked_like_written_ones(desk, value, key, message):
    job = f"""\
        tasks:
        - {{target: 'm:f', name: first}}
        - target: m:f
          name: a
          matrix: {{v: [{value}]}}
          {key}
        """
    (diagnostic,) = desk.diagnostics(job=job)
    assert diagnostic.startswith(message)


@pytest.mark.parametrize("uses", ["job.yaml", "r.yaml"])
def test_a_recipe_that_includes_itself_is_refused(desk, uses):
    (diagnostic,) = desk.diagnostics(
        job=f"tasks: [{{name: u, uses: {uses}}}]", r="tasks: [{name: v, uses: ./job.yaml}]"
    )
    assert ("uses itself" if uses == "job.yaml" else "recipe cycle: ") in diagnostic


# ---- conditions of recipes


def test_the_condition_of_a_recipe_is_that_of_all_its_tasks(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: off, uses: r.yaml, when: "no"}
          - {name: ask, uses: r.yaml, when: "${tasks.a.result}"}
          - {name: on, uses: r.yaml, when: true}
        """,
        r="tasks: [{name: i, target: 'm:f'}, {name: j, target: 'm:f', when: false}]",
    )
    plan = api.plan_job(job)
    found = {planned.name: (planned.skipped, planned.late) for planned in plan.tasks}
    assert found == {
        "a": (False, False),
        "off/i": (True, False),
        "off/j": (True, False),
        "ask/i": (False, True),
        "ask/j": (True, True),
        "on/i": (False, False),
        "on/j": (True, False),
    }


# ---- limits and costs


def test_more_tasks_than_a_run_can_have_are_refused_at_once(desk):
    with quick(5):
        values = list(range(501))
        (diagnostic,) = desk.diagnostics(
            job=f"tasks: [{{target: 'm:f', matrix: {{a: {values}, b: {values}}}}}]"
        )
        assert "too many tasks: 251,001 (limit: 250,000)" in diagnostic
        values = list(range(600))
        diagnostics = desk.diagnostics(
            job=f"tasks: [{{name: u, uses: r.yaml, matrix: {{a: {values}}}}}]",
            r=f"tasks: [{{target: 'm:f', matrix: {{a: {values}}}}}]",
        )
        assert "too many tasks: 360,000" in diagnostics[0]


def test_recipes_that_multiply_are_refused_before_memory_is_gone(desk):
    files = {
        f"r{n}": f"tasks: [{{name: u, uses: r{n + 1}.yaml, matrix: {{a: {list(range(10))}}}}}]"
        for n in range(7)
    }
    with quick(2):
        (diagnostic,) = desk.diagnostics(
            job="tasks: [{name: u, uses: r0.yaml}]",
            **files,
            r7=f"tasks: [{{target: 'm:f', matrix: {{a: {list(range(10))}}}}}]",
        )
        assert "too many tasks: 100,000,000" in diagnostic


def seconds_for(desk, count):
    lines = [
        f"  - {{name: t{n}, target: 'm:f', args: ['${{params.p}}'], depends_on: t{max(0, n - 7)}, "
        "timeout: '${params.t}'}"
        for n in range(1, count)
    ]
    desk.write(job="\n".join(["params: {p: x, t: 5}", "tasks:", "  - {name: t0, target: 'm:f'}", *lines]))
    path = str(desk.path / "job.yaml")
    return cpu_seconds(lambda: load_job_file(path, {}, (), {}))


def test_a_file_of_twice_as_many_tasks_takes_twice_as_long(desk):
    assert growth(lambda: seconds_for(desk, 2_500), lambda: seconds_for(desk, 5_000)) < 3.5


def test_a_hundred_thousand_instances_take_ten_times_as_long_as_ten_thousand_and_little_memory(desk):
    """Time is CPU time beside that of fewer tasks, memory what 90,000 more tasks take."""
    used = {}
    for count in (100, 1000):
        desk.write(
            job=f"""
            params: {{x: 1}}
            tasks:
              - name: grid
                target: m:f
                matrix: {{a: {list(range(100))}, b: {list(range(count))}}}
                args: ["${{matrix.a}}", "${{matrix.b}}", "${{params.x}}"]
            """
        )
        command = [sys.executable, "-m", "mprun", "plan", "job.yaml", "--format", "json"]
        script = (
            "import resource, subprocess, sys; "
            "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
            "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
            "print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=desk.path,
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, kilobytes = map(float, done.stdout.split())
        used[100 * count] = seconds, kilobytes
    # Nine if the time is linear, as some of it is for the start; up to 100 if it is quadratic.
    assert used[100_000][0] / used[10_000][0] < 20, used
    assert (used[100_000][1] - used[10_000][1]) / 90_000 < 1.0, used


# ---- names for many tasks


def test_an_unknown_dependency_of_a_task_with_a_recipe_is_marked_at_its_name(desk):
    files = {
        "r": "tasks: [{name: m, uses: s.yaml, depends_on: ['in[n=3]']}, {name: in, target: 'm:f', matrix: {n: [1]}}]",  # noqa: E501
        "s": "tasks: [{name: i, target: 'm:f'}]",
    }
    with pytest.raises(JobFileError) as caught:
        desk.job(job="tasks:\n  - {target: 'm:f'}\n  - {name: u, uses: s.yaml, depends_on: [zz/y]}", **files)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.source.path, diagnostic.span.line, diagnostic.span.column) == (
        str(desk.path / "job.yaml"),
        3,
        42,
    )
    with pytest.raises(JobFileError) as caught:
        desk.job(job="tasks: [{name: u, uses: r.yaml}]", **files)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.source.path, diagnostic.span.column) == (str(desk.path / "r.yaml"), 46)


def test_instances_of_a_late_list_can_be_waited_for_until_they_are_ready(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: l, target: "m:f"}
          - {name: d, target: "m:f", foreach: "${tasks.l.result}", daemon: true, ready: {tcp: "${item}", timeout: "${item}"}}
          - {name: x, target: "m:f", depends_on: {d: ready}}
        """  # noqa: E501
    )
    assert job.needs[2] == ((1, "ready"),)


@pytest.mark.parametrize(
    "key",
    [
        "timeout: '${matrix.n}'",
        "retry: '${item}'",
        "resources: {db: '${item}'}",
        "stop: {grace: '${matrix.g}'}",
        "limits: {memory: '${item}'}",
        "tags: ['${item.x}']",
        "daemon: '${matrix.n}'",
        "args: ['${item}']",
        "env: {A: '${matrix.n}'}",
        "when: '${item}'",
        "expect: {result: '${item}'}",
    ],
)
@pytest.mark.parametrize("own", ["", "foreach: [1]", "matrix: {other: [1]}"])
def test_defaults_that_refer_to_an_axis_that_a_task_lacks_are_refused(desk, key, own):
    own = "" if "foreach" in own and "item" in key else own
    diagnostics = desk.diagnostics(
        job=f"resources: {{db: 1}}\ndefaults: {{{key}}}\ntasks: [{{name: a, target: 'm:f'{own and ', ' + own}}}]"  # noqa: E501
    )
    assert diagnostics[0].startswith("2:")
    assert "is only available in" in diagnostics[0]
    assert "in task `a`" in diagnostics[0]


@pytest.mark.parametrize("key", ["timeout: '${matrix.n}'", "name: '${item}'", "max_parallel: '${item}'"])
def test_a_job_has_no_values_of_a_matrix(desk, key):
    (diagnostic,) = desk.diagnostics(job=f"{key}\ntasks: [{{target: 'm:f'}}]")
    assert diagnostic.startswith("1:")
    assert "is only available in" in diagnostic


def test_a_pattern_means_tasks_at_the_same_position_of_another_file(desk):
    """C81. A pattern leaves out the tasks of its own position, which is one in a file."""
    needs = desk.needs(
        job="tasks: [{name: r, uses: r.yaml}, {name: last, target: 'm:f', depends_on: '*'}]",
        r="tasks: [{name: one, target: 'm:f'}, {name: two, target: 'm:f'}, {name: s, uses: s.yaml}]",
        s="tasks: [{name: three, target: 'm:f'}, {name: four, target: 'm:f', depends_on: '*'}]",
    )
    assert sorted(needs["last"]) == ["r/one", "r/s/four", "r/s/three", "r/two"]
    assert needs["r/s/four"] == ["r/s/three"]


@pytest.mark.parametrize(
    "more", ["matrix: {n: [1, 2]}, target: 'm:f'", "foreach: [1, 2], target: 'm:f'", "uses: r.yaml"]
)
def test_a_pattern_means_neither_its_own_task_nor_another_of_its_instances(desk, more):
    needs = desk.needs(
        job=f"tasks: [{{name: a, target: 'm:f'}}, {{name: b, depends_on: '*', {more}}}]",
        r="tasks: [{name: i, target: 'm:f'}, {name: j, target: 'm:f', depends_on: i}]",
    )
    assert needs.pop("a") == []
    assert [before for before in needs.values() if before != ["a"]] in ([], [["b/i", "a"]], [["a", "b/i"]])

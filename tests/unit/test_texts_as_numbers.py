"""C29: a whole reference to a text, where a number is wanted, is read as a number."""

from __future__ import annotations

import pytest
from support.desk import Desk

from mprun.jobfile.references import ReferenceProblem
from mprun.jobfile.resolution import Resolver, resolve


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


ENV = {"N": "3", "PORT": " 8080 ", "HALF": "0.5", "YES": "true", "NO": "False", "DUR": "1m", "SIZE": "4096"}


def test_every_key_that_wants_a_number_takes_one_from_a_text(desk):
    job = desk.job(
        env=ENV,
        job="""
        max_parallel: ${env.N}
        fail_fast: ${env.YES}
        timeout: ${env.N}
        resources: {db: "${env.N}"}
        defaults: {timeout: "${env.HALF}"}
        tasks:
          - name: a
            target: "m:f"
            retry: {retries: "${env.N}", delay: "${env.HALF}", backoff: "${env.N}", jitter: "${env.HALF}",
                    max_delay: "${env.DUR}", exit_codes: ["${env.N}"]}
            limits: {memory: "${env.SIZE}", cpu_time: "${env.N}", open_files: "${env.N}", nice: "${env.N}",
                     cpus: ["${env.N}"], log: "${env.SIZE}"}
            expect: {exit_code: "${env.N}", max_seconds: "${env.HALF}", max_rss: "${env.SIZE}"}
            resources: {db: "${env.N}"}
            allow_failure: ${env.YES}
            stop: {grace: "${env.HALF}"}
          - {name: s, target: "m:f", daemon: "${env.YES}", ready: {tcp: "${env.PORT}", timeout: "${env.N}"},
             retry: "${env.N}"}
          - {name: h, target: "m:f", daemon: "${env.YES}", ready: {tcp: "host:${env.N}"},
             timeout: "${env.DUR}"}
        join: [{task: a, timeout: "${env.HALF}"}]
        """,
    )
    a, s, h = (instance.task for instance in job.tasks)
    assert (job.max_parallel, job.fail_fast, job.timeout, job.resources) == (3, True, 3.0, {"db": 3})
    assert job.join[0].timeout == 0.5
    assert (a.timeout, a.resources, a.allow_failure, a.stop.grace) == (0.5, {"db": 3}, True, 0.5)
    assert (a.retry.retries, a.retry.delay, a.retry.backoff, a.retry.jitter) == (3, 0.5, 3.0, 0.5)
    assert (a.retry.max_delay, a.retry.exit_codes) == (60.0, (3,))
    assert (a.limits.memory, a.limits.cpu_time, a.limits.open_files, a.limits.nice) == (4096, 3.0, 3, 3)
    assert (a.limits.cpus, a.limits.log) == ((3,), 4096)
    assert (a.expect.exit_codes, a.expect.max_seconds, a.expect.max_rss) == ((3,), 0.5, 4096)
    assert (s.daemon, s.ready.what, s.ready.timeout, s.retry.retries) == (True, "8080", 3.0, 3)
    assert (h.ready.what, h.timeout) == ("host:3", 60.0)


def test_where_a_text_is_allowed_it_stays_one(desk):
    job = desk.job(
        env=ENV,
        job="""
        params: {t: "${env.N}", u: {type: string, default: "${env.N}"}}
        tasks:
          - {name: a, target: "m:f", args: ["${env.N}"], tags: ["${env.N}"], when: "${env.YES}",
             kwargs: {t: "${params.t}", u: "${params.u}"}, matrix: {v: ["${env.N}"]},
             expect: {output: "${env.N}"}}
        """,
    )
    (instance,) = job.tasks
    task = instance.task
    assert resolve(task.args, Resolver(task.scope)) == ["3"]
    assert (job.params, instance.values, task.tags, task.expect.output) == (
        {"t": "3", "u": "3"},
        ("3",),
        ("3",),
        "3",
    )


def test_instances_take_numbers_from_texts_too(desk):
    job = desk.job(
        job="""
        params: {ports: ["80", "81"]}
        tasks:
          - {name: m, target: "m:f", daemon: true, ready: {tcp: "${matrix.p}"},
             matrix: {p: "${params.ports}"}}
          - {name: e, target: "m:f", timeout: "${item.t}", foreach: [{t: "5"}, {t: 6}, {t: 7s}]}
        """
    )
    assert [one.task.ready.what for one in job.tasks[:2]] == ["80", "81"]
    assert [one.task.timeout for one in job.tasks[2:]] == [5.0, 6.0, 7.0]


def test_a_param_of_another_type_than_string_reads_its_default_from_a_text(desk):
    job = desk.job(
        env={**ENV, "LIST": "a, 2"},
        job="""
        params:
          i: {type: integer, default: "${env.N}", enum: ["${env.N}", 4]}
          f: {type: number, default: "${env.HALF}"}
          b: {type: boolean, default: "${env.NO}"}
          l: {type: list, default: "${env.LIST}"}
        tasks: [{target: "m:f"}]
        """,
    )
    assert job.params == {"i": 3, "f": 0.5, "b": False, "l": ["a", 2]}


RECIPE = """
    params: {n: {type: integer, required: true}}
    tasks: [{name: x, target: "m:f", args: ["${params.n}"]}]
    """


def test_a_recipe_reads_its_params_from_texts(desk):
    job = desk.job(
        env=ENV,
        job="""
        tasks:
          - {name: r, uses: recipe.yaml, with: {n: "${env.N}"}}
          - {name: e, uses: recipe.yaml, with: {n: "${item}"}, foreach: ["4"]}
        """,
        recipe=RECIPE,
    )
    assert [resolve(one.task.args, Resolver(one.task.scope)) for one in job.tasks] == [[3], [4]]
    (line,) = desk.diagnostics(
        env={"N": "many"},
        job="""
        tasks:
          - {name: r, uses: recipe.yaml, with: {n: "${env.N}"}}
        """,
        recipe=RECIPE,
    )
    assert line == "3:44 param `n` must be an integer, but `with` provides the string `many`"


def late(desk, result):
    job = desk.job(
        job="""
        tasks:
          - {name: a, target: "m:f"}
          - {name: r, uses: recipe.yaml, with: {n: "${tasks.a.result}"}}
        """,
        recipe=RECIPE,
    )
    task = job.tasks[1].task
    return resolve(task.args, Resolver(task.scope, results=lambda reference: result, reveal=True))


def test_a_result_that_becomes_a_param_is_read_during_the_run(desk):
    assert late(desk, "5") == [5]
    assert late(desk, 6) == [6]
    with pytest.raises(ReferenceProblem) as caught:
        late(desk, "many")
    assert str(caught.value) == "param `n` must be an integer, but `${tasks.a.result}` is the text `many`"


PORT = "`ready.tcp` of task `a` must be a port from 1 to 65535, or `host:port`"
RETRY = (
    "`retry` of task `a` must be a number of extra attempts, or a mapping such as `{retries: 3, delay: 1s}`"
)
NICE = "`limits.nice` of task `a` must be an integer from -20 to 19"


@pytest.mark.parametrize(
    ("keys", "text", "message"),
    [
        ("daemon: true, ready: {tcp: '${env.X}'}", "x", f"{PORT}, not the string `x`"),
        ("daemon: true, ready: {tcp: '${env.X}'}", "70000", f"{PORT}, not the number `70000`"),
        ("retry: '${env.X}'", "2.0", f"{RETRY}, not the string `2.0`"),
        ("daemon: '${env.X}'", "yes", "`daemon` of task `a` must be `true` or `false`, not the string `yes`"),
        ("timeout: '${env.X}'", "0", "`timeout` of task `a` must be above 0, not the number `0`"),
        ("limits: {nice: '${env.X}'}", "9" * 5000, f"{NICE}, not the string `{'9' * 50}`"),
        ("limits: {nice: '${env.X}'}", "", f"{NICE}, not the string ``"),
    ],
)
def test_a_text_that_is_not_such_a_number_is_an_error_with_its_place(desk, keys, text, message):
    (line,) = desk.diagnostics(env={"X": text}, job=f"tasks: [{{name: a, target: 'm:f', {keys}}}]")
    assert line.partition(" ")[2] == f"{message} (`'${{env.X}}'`)"

"""One budget for a whole job (C55): what references, recipes and defaults add is refused with its place."""

import tracemalloc
from random import Random

import pytest
from support.runs import ROOT
from support.timing import cpu_seconds, growth, quick

from mprun.errors import JobFileError, UsageError
from mprun.jobfile import checked_files, expander, expansion, scope
from mprun.jobfile.budget import MAX_LATER_USES
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.syntax import document

T = "target: 'os:getpid'"
LONG = "x" * 500_000
# CPU time in seconds: a refusal takes less than half a second on an idle machine.
QUICKLY = 2.0


@pytest.fixture
def load(tmp_path):
    def load(text, params=(), **files):
        for name, content in {"job": text, **files}.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return load_job_file(str(tmp_path / "job.yaml"), dict(params), (), {})

    return load


@pytest.fixture
def refused(load):
    def refused(text, **files):
        with quick(QUICKLY), pytest.raises(JobFileError) as caught:
            load(text, **files)
        (diagnostic,) = caught.value.diagnostics
        return str(diagnostic).rpartition("/")[2]

    return refused


def many(task, count=3000):
    return "tasks:\n" + "".join(f"- {{name: t{n}, {T}, {task}}}\n" for n in range(count))


def chain(depth, use, last, head="params: {v: a}\n"):
    files = {f"r{n}": f"{head}tasks: [{use.format(n=n + 1)}]\n" for n in range(depth)}
    return {**files, f"r{depth}": f"{head}tasks: [{last}]\n"}


@pytest.mark.parametrize(
    "task",
    [
        "args: ['y${params.b}']",
        "tags: ['y${params.b}']",
        "kwargs: {'y${params.b}': 1}",
        "env: {A: 'y${params.b}'}",
    ],
)
def test_a_long_param_in_many_places_is_refused_where_the_budget_ran_out_C55(refused, task):
    message = refused(f"params: {{b: {LONG}}}\n{many(task)}")
    assert "the job is too large: its references add too much to it" in message
    line = int(message.split(":")[1])
    assert 30 < line < 300


def test_a_long_param_many_times_in_one_string_is_refused_C55(refused):
    message = refused(f"params: {{b: {LONG}}}\ntasks: [{{{T}, args: ['{'${params.b}' * 5000}']}}]\n")
    assert message.startswith("job.yaml:2:")
    assert "its references" in message


def test_a_long_param_in_many_instances_is_refused_C55(refused):
    numbers = list(range(20_000))
    text = f"params: {{b: {LONG}}}\ntasks: [{{{T}, args: ['${{item}}${{params.b}}'], foreach: {numbers}}}]\n"
    assert "its references" in refused(text)


def test_a_list_that_is_copied_for_many_tasks_is_refused_C55(refused):
    words = [f"a{n}" for n in range(50_000)]
    tasks = many("tags: '${params.l}'", 300)
    assert "its references" in refused(f"params: {{l: {words}}}\n{tasks}")


def test_a_list_that_many_tasks_are_given_is_not_copied(load):
    tasks = many("args: ['${params.l}']")
    job = load(f"params: {{l: {list(range(20_000))}}}\n{tasks}")
    assert len(job.tasks) == 3000


@pytest.mark.parametrize("key", ["args: LIST", "kwargs: {a: LIST}", "expect: {result: LIST}"])
def test_a_list_in_too_many_places_of_one_task_is_refused_C55(refused, key):
    words = list(range(2000))
    places = ", ".join(["'${params.l}'"] * 1000)
    message = refused(f"params: {{l: {words}}}\ntasks:\n- {{{T}, {key.replace('LIST', f'[{places}]')}}}\n")
    assert message.startswith("job.yaml:3:")
    assert "too many values in one task (limit: 1,000,000)" in message


@pytest.mark.parametrize("value", ["xxxxxxxxxxxxxxxx", "'${tasks.s.result}'"])
def test_recipes_that_double_a_value_are_refused_C55(refused, value):
    use = "{{name: a, uses: r{n}.yaml, with: {{v: '${{params.v}}${{params.v}}'}}}}"
    files = chain(41, use, f"{{{T}, args: ['${{params.v}}']}}")
    message = refused(
        f"tasks: [{{name: s, {T}}}, {{name: a, uses: r0.yaml, with: {{v: {value}}}}}]\n", **files
    )
    assert "its references" in message
    assert message.startswith("r")


def test_recipes_that_double_a_list_of_a_result_are_refused_C55(refused):
    use = "{{name: a, uses: r{n}.yaml, with: {{v: ['${{params.v}}', '${{params.v}}']}}}}"
    files = chain(41, use, f"{{{T}, args: ['${{params.v}}']}}", "params: {v: [a]}\n")
    with_list = "with: {v: ['${tasks.s.result}']}"
    assert "its references" in refused(
        f"tasks: [{{name: s, {T}}}, {{name: a, uses: r0.yaml, {with_list}}}]\n", **files
    )


def test_recipes_that_double_a_list_that_they_are_given_are_refused_C55(refused):
    # Each has twice the list of the one before it; a copy of each place of it takes 2 to the power of 40.
    use = "{{name: a, uses: r{n}.yaml, with: {{v: ['${{params.v}}', '${{params.v}}']}}}}"
    files = chain(40, use, f"{{{T}, args: ['${{params.v}}']}}", "params: {v: [a]}\n")
    message = refused("tasks: [{name: a, uses: r0.yaml, with: {v: [1]}}]\n", **files)
    assert message.startswith("r")
    assert "its references add too much to it" in message


@pytest.mark.parametrize(
    "text",
    [
        many("expect: {output: 'PATTERN'}"),
        many("daemon: true, ready: {log: 'PATTERN'}"),
        "params: {p: PATTERN}\n" + many("expect: {output: '${params.p}NUMBER'}"),
        "params:\n"
        + "".join(f"  p{n}: {{pattern: 'PATTERN{n}', default: a}}\n" for n in range(3000))
        + f"tasks: [{{{T}}}]\n",
    ],
)
def test_many_long_patterns_are_refused_before_they_are_compiled_C55(refused, text):
    lines = text.replace("PATTERN", "a?" * 200).replace("NUMBER", "{}").split("\n")
    text = "\n".join(line.replace("'}", f"x{n}'}}", 1) for n, line in enumerate(lines))
    assert "the job is too large: its regular expressions" in refused(text)


@pytest.mark.parametrize("last", ["", "=\n"])
def test_an_env_file_that_many_recipes_read_is_refused_C55(load, tmp_path, last):
    """Also one that each of them cannot use."""
    (tmp_path / "many").write_text("".join(f"V{n}=a\n" for n in range(50_000)) + last)
    users = "tasks:\n" + "".join(f"- {{name: u{n}, uses: r.yaml}}\n" for n in range(500))
    with quick(QUICKLY), pytest.raises(JobFileError) as caught:
        load(users, r=f"env_file: many\ntasks: [{{{T}}}]\n")
    assert "its env files add too much to it" in str(caught.value)


def test_a_recipe_with_errors_is_read_once_C55(load, monkeypatch):
    read = []
    monkeypatch.setattr(checked_files, "load", lambda path: read.append(path) or document.load(path))
    users = "tasks:\n" + "".join(f"- {{name: u{n}, uses: r.yaml}}\n" for n in range(500))
    with pytest.raises(JobFileError) as caught:
        load(users, r=f"tasks: [{{{T}, no-such-key: 1}}]\n")
    assert "unknown key `no-such-key`" in str(caught.value)
    assert len(read) == 2


def test_a_secret_through_many_recipes_is_found_or_refused_soon_C55(load, monkeypatch):
    use = "{{name: a, uses: r{n}.yaml, with: {{v: '${{params.v}}${{params.v}}'}}}}"
    files = chain(41, use, f"{{{T}, args: ['${{params.v}}']}}")
    with quick(QUICKLY), pytest.raises(UsageError):
        load(
            "params: {s: {secret: true, required: true}}\n"
            "tasks: [{name: a, uses: r0.yaml, with: {v: '${params.s}'}}]\n",
            {"s": "hunter2"}.items(),
            **files,
        )


def test_recipes_that_use_the_next_twice_and_end_in_an_empty_list_are_refused_C55(refused):
    use = "{{name: a, uses: r{n}.yaml}}, {{name: b, uses: r{n}.yaml}}"
    message = refused("tasks: [{name: a, uses: r0.yaml}]\n", **chain(31, use, f"{{{T}, foreach: []}}", ""))
    assert "too many uses of recipes: 4,294,967,295 (limit: 25,000)" in message


def test_recipes_over_lists_that_are_known_late_are_refused_C55(refused):
    use = "{{name: a, uses: r{n}.yaml, foreach: '${{params.l}}'}}"
    files = chain(5, use, f"{{{T}, foreach: []}}", "params: {l: [1, 2, 3, 4, 5, 6, 7]}\n")
    message = refused("tasks: [{name: a, uses: r0.yaml}]\n", **files)
    assert "the job is too large: too many uses of recipes" in message


def test_recipes_that_are_nested_deep_are_refused_C55(refused):
    files = chain(300, "{{name: a, uses: r{n}.yaml}}", f"{{{T}}}", "")
    message = refused("tasks: [{name: a, uses: r0.yaml}]\n", **files)
    assert "recipes are nested more than 64 deep" in message


def test_a_long_recipe_that_is_used_often_is_refused_C55(refused):
    users = "tasks:\n" + "".join(f"- {{name: u{n}, uses: long.yaml}}\n" for n in range(500))
    message = refused(
        users, long=f"params: {{v: a}}\ntasks: [{{{T}, args: ['${{params.v}}', {list(range(20_000))}]}}]\n"
    )
    assert "its recipes add too much to it" in message


@pytest.mark.parametrize(
    "key", ["env: {NAMES}", "args: [LIST]", "tags: [LIST]", "kwargs: {NAMES}", "x-free: [LIST]"]
)
def test_large_defaults_of_many_tasks_are_refused_at_the_defaults_C55(refused, key):
    names = ", ".join(f"V{n}: a" for n in range(10_000))
    listed = ", ".join(f"V{n}" for n in range(10_000))
    text = (
        f"defaults: {{{key.replace('NAMES', names).replace('LIST', listed)}}}\ntasks:\n"
        + f"- {{{T}}}\n" * 5000
    )
    message = refused(text)
    assert message.startswith("job.yaml:1:11: ")
    assert "its defaults add too much to it" in message


def test_many_variables_beside_those_of_many_tasks_are_refused_C55(refused):
    names = ", ".join(f"V{n}: a" for n in range(10_000))
    message = refused(f"env: {{{names}}}\n{many('env: {A: b}')}")
    assert "its variables add too much to it" in message


def test_many_columns_are_refused_C55(refused):
    columns = ", ".join(f"{{c{n}: 1}}" for n in range(5000))
    message = refused(f"tasks: [{{name: t, {T}, matrix: {{a: [1, 2], include: [{columns}]}}}}]\n")
    assert "too many keys in `include`: 5,001" in message


@pytest.mark.parametrize("where", ["join", "depends_on"])
def test_many_patterns_among_many_names_are_refused_C55(refused, where):
    count = 3000
    need = ", depends_on: '*u{n}y*'" if where == "depends_on" else ""
    tasks = "".join(
        f"- {{name: t{n}x, {T}{need.format(n=n)}}}\n- {{name: u{n}y, {T}}}\n" for n in range(count)
    )
    join = "" if need else "join: [" + ", ".join(f"'*u{n}y*'" for n in range(count)) + "]\n"
    assert "too many patterns" in refused(f"tasks:\n{tasks}{join}")


def test_as_many_patterns_that_end_with_a_star_are_allowed(load):
    tasks = "".join(
        f"- {{name: t{n}x, {T}, depends_on: 'u{n}y*'}}\n- {{name: u{n}y, {T}}}\n" for n in range(3000)
    )
    job = load(f"tasks:\n{tasks}")
    assert job.needs[0] == ((1, "passed"),)


def test_a_large_value_of_a_matrix_is_not_shown_for_each_instance(load):
    with quick(QUICKLY):
        words = list(range(5000))
        matrix = f"matrix: {{a: [*b], b: {words}}}"
        load(f"x-b: &b {words}\ntasks: [{{name: t, {T}, timeout: '${{matrix.a.1}}', {matrix}}}]\n")


def test_what_the_run_resolves_costs_nothing(load):
    job = load("params: {n: 1}\ntasks: [{target: 'os:getpid', args: ['${params.n}']}]\n")
    job.tasks[0].task.scope.budget.spend(1 << 40)


def test_a_recipe_for_each_of_many_items_is_allowed(load):
    items = list(range(MAX_LATER_USES + 500))
    job = load(
        f"tasks: [{{name: u, uses: r.yaml, foreach: {items}, with: {{v: '${{item}}'}}}}]\n",
        r=f"params: {{v: 1}}\ntasks: [{{{T}, args: ['${{params.v}}']}}]\n",
    )
    assert len(job.tasks) == len(items)


def test_an_anchor_that_is_set_again_and_again_is_found_soon(load):
    with quick(QUICKLY):
        lines = "".join(f"    A{n}: &a {n}\n    B{n}: *a\n" for n in range(8000))
        job = load(f"tasks:\n- command: [x]\n  env:\n{lines}")
    assert job.tasks[0].task.env["B7999"] == "7999"


def test_the_generated_files_of_make_reliability_are_soon_refused_or_read_C55(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "reliability"))
    from oversized import GENERATORS

    for generator in GENERATORS:
        for number in range(4):
            random = Random(f"{generator.__name__} {number}")
            directory = tmp_path / f"{generator.__name__}{number}"
            directory.mkdir()
            for name, text in generator(100_000, random).items():
                (directory / name).write_text(text)
            with quick(QUICKLY):
                try:
                    load_job_file(str(directory / "job.yaml"), {}, (), {})
                except UsageError as error:
                    assert str(error)  # noqa: PT017


def test_escapes_and_references_in_one_long_string_take_linear_time_C55(load):
    # A quadratic parse copies 20 gigabytes.
    with quick(QUICKLY):
        (task,) = load(f"tasks: [{{{T}, args: ['{'$${' * 200_000}']}}]\n").tasks
    assert list(task.task.args) == ["${" * 200_000]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (f"{T}, timeout: '{'1h' * 2_000_000}'", "`timeout` of task `t` must be a duration"),
        (
            f"{T}, args: ['${{tasks.{'a' * 4_000_000}.result}}']",
            "a reference has more than 4,096 characters",
        ),
        (f"{T}, args: ['${{params.{'a.' * 2_000_000}}}']", "a reference has more than 4,096 characters"),
        (f"{T}, args: ['{'${' * 2_000_000}']", "a reference may contain others only to select"),
    ],
)
def test_a_long_text_that_is_not_free_text_is_refused_soon_with_its_place_C55(load, task, message):
    tracemalloc.start()
    try:
        with pytest.raises(JobFileError) as caught:
            load(f"tasks:\n- {{name: t, {task}}}\n")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message in str(caught.value)
    assert caught.value.diagnostics[0].span.line == 2
    # The text itself, and a few copies.
    assert peak < 60_000_000


def test_a_similar_name_among_many_long_ones_is_not_looked_for_without_end_C55(refused):
    names = "".join(f"- {{name: {'a' * 90}{n}, {T}}}\n" for n in range(8000))
    message = refused(f"tasks:\n{names}- {{name: t, {T}, depends_on: {'a' * 95}}}\n")
    assert "unknown task" in message


def test_many_references_in_a_string_that_has_escapes_take_linear_time_C55(load):
    with quick(QUICKLY):
        text = "${params.x}" * 8000
        (task,) = load(f'params: {{x: a}}\ntasks: [{{{T}, args: ["\\x41{text}"]}}]\n').tasks
    assert len(task.task.args) == 1


def test_suggestions_for_all_unknown_names_of_a_job_have_one_budget_C55(load):
    known = ", ".join(f"token{n}: 1" for n in range(50_000))
    tasks = "".join(f"- {{{T}, resources: {{tokne{n}: 1}}}}\n" for n in range(100))
    with pytest.raises(JobFileError) as caught:
        load(f"resources: {{{known}}}\ntasks:\n{tasks}")
    helps = [one.help for one in caught.value.diagnostics]
    assert len(helps) == 100
    assert helps[0] == "did you mean `token0`?"
    # Later ones are said to be unknown, and how to declare them, but are compared with nothing.
    assert helps[-1] == "declare it: `resources: {tokne99: 1}`"
    assert 1 <= sum("did you mean" in help for help in helps) < 20


@pytest.mark.parametrize("value", ["['${params.l}', MANY]", "{a: ['${params.l}', MANY]}"])
def test_a_list_many_times_in_with_is_counted_before_it_is_looked_at_C55(refused, value):
    many_times = ", ".join(["'${params.l}'"] * 20_000)
    message = refused(
        f"params: {{l: {list(range(20_000))}}}\n"
        f"tasks:\n- {{name: u, uses: r.yaml, with: {{v: {value.replace('MANY', many_times)}}}}}\n",
        r=f"params: {{v: [1]}}\ntasks: [{{{T}, args: ['${{params.v}}']}}]\n",
    )
    assert message.startswith("job.yaml:3:")
    assert "its references add too much to it" in message


def test_of_many_params_with_errors_the_first_are_explained_C55(load, monkeypatch):
    found = []
    explained = scope.reference_diagnostic
    monkeypatch.setattr(
        scope, "reference_diagnostic", lambda *given: found.append(given) or explained(*given)
    )
    params = "".join(f"  p{n}: '${{env.NO_SUCH_VARIABLE}}'\n" for n in range(5000))
    with pytest.raises(JobFileError) as caught:
        load(f"params:\n{params}tasks: [{{{T}, args: ['${{params.p4999}}']}}]\n")
    assert len(caught.value.diagnostics) == len(found) == 100


OWN_KEYS = "timeout: '${matrix.b}', tags: ['a${matrix.a}', 'b${matrix.b}']"


def matrix(size, task=""):
    numbers = list(range(1, size + 1))
    return f"tasks:\n- {{name: t, {T}, matrix: {{a: {numbers}, b: {numbers}}}, {task}}}\n"


def test_too_many_instances_with_keys_of_their_own_are_refused_before_one_is_built_C55(refused, monkeypatch):
    built = []
    monkeypatch.setattr(expander, "build_task", lambda *given: built.append(given))
    message = refused(matrix(400, OWN_KEYS))
    assert message.startswith("job.yaml:2:3: too many instances with keys of their own (limit: 125,000)")
    assert not built


def test_instances_that_share_a_task_are_not_limited_like_those_with_their_own(load):
    job = load(matrix(400, "timeout: '${matrix.b}'"))
    assert len(job.tasks) == 160_000
    assert len({id(one.task) for one in job.tasks}) == 400


def test_long_texts_in_keys_of_instances_are_refused_after_the_first_C55(refused, monkeypatch):
    built = []
    build = expander.build_task
    monkeypatch.setattr(expander, "build_task", lambda *given: built.append(given) or build(*given))
    text = f"params: {{p: {'x' * 2000}}}\n" + matrix(250, "tags: ['a${matrix.a}', 'b${matrix.b}${params.p}']")
    assert "its references add too much to it" in refused(text)
    assert len(built) < 2


def test_an_instance_with_keys_of_its_own_costs_little_more_than_a_task_that_has_them(load):
    def of_tasks():
        tasks = "".join(f"- {{{T}, timeout: {n + 1}, tags: [a{n}, b{n}]}}\n" for n in range(3600))
        return cpu_seconds(lambda: load(f"tasks:\n{tasks}"))

    def of_instances():
        return cpu_seconds(lambda: load(matrix(60, OWN_KEYS)))

    # Twice as much, measured: the references are resolved, and the values checked, one by one.
    assert growth(of_tasks, of_instances) < 4


def test_too_many_tasks_that_are_aliases_are_refused_before_they_are_built_C55(refused, monkeypatch):
    monkeypatch.setattr(expansion, "build_task", lambda *given: pytest.fail("built"))
    message = refused(f"tasks:\n- &a {{{T}}}\n" + "- *a\n" * 100_001)
    assert message.startswith("job.yaml:100003:3: too many tasks are aliases of others (limit: 100,000)")


def test_as_many_tasks_that_are_not_aliases_are_allowed(load):
    job = load(f"tasks: [{{name: t, {T}, foreach: [{'1, ' * 120_000}]}}]\n")
    assert len(job.tasks) == 120_000


def test_dependencies_between_recipes_are_counted_before_these_are_expanded_C55(refused, monkeypatch):
    monkeypatch.setattr(expansion, "build_task", lambda *given: pytest.fail("built"))
    needs = [", ".join(f"u{m}" for m in range(max(n - 8, 0), n)) for n in range(2000)]
    users = "".join(f"- {{name: u{n}, uses: r.yaml, depends_on: [{need}]}}\n" for n, need in enumerate(needs))
    message = refused(f"tasks:\n{users}", r="tasks:\n" + f"- {{{T}}}\n" * 8)
    assert "too many dependencies, groups expanded (limit: 1,000,000)" in message

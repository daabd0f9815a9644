"""`outputs` of a recipe: names for results of its tasks, which do not change when its tasks do."""

from __future__ import annotations

import pytest
from support.desk import Desk, views
from support.timing import quick

from mprun.errors import JobFileError
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.reference_syntax import parse
from mprun.jobfile.references import ReferenceProblem, references

ETL = """
    params: {day: x}
    outputs:
      total: ${tasks.load.result}
      rows: ${tasks.extract.result.rows}
    tasks:
      - {name: extract, target: "m:f", args: ["${params.day}"]}
      - {name: load, target: "m:f", args: ["${tasks.extract.result}"]}
    """


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def only_reference(node):
    (found,) = references([node])
    return found.root, found.name, found.path


def test_a_reference_to_an_output_is_parsed():
    found = parse("${tasks.a/b.outputs.x.rows.0}", "r/")
    assert (found.root, found.name, found.path) == ("outputs", "r/a/b", ("x", "rows", "0"))


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("tasks.a.outputs.result", "a", ("result",)),
        ("tasks.a.outputs.x.result", "a", ("x", "result")),
        ("tasks.a.outputs.x.outputs.y", "a", ("x", "outputs", "y")),
    ],
)
def test_the_name_of_the_task_ends_at_the_first_outputs(text, name, path):
    found = parse(f"${{{text}}}")
    assert (found.root, found.name, found.path) == ("outputs", name, path)


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("tasks.a.result.outputs.x", "a", ("outputs", "x")),
        ("tasks.a.outputs_x.result", "a.outputs_x", ()),
        ("tasks.a_outputs.result.x", "a_outputs", ("x",)),
    ],
)
def test_a_result_is_none(text, name, path):
    found = parse(f"${{{text}}}")
    assert (found.root, found.name, found.path) == ("tasks", name, path)


@pytest.mark.parametrize("key", ["args: [{}]", "kwargs: {{k: {}}}", "env: {{E: {}}}", "when: {}", "cwd: {}"])
def test_an_output_is_the_result_of_a_task_and_a_dependency_on_that_task_alone(desk, key):
    job = desk.job(
        etl=ETL,
        job=f"""
        tasks:
          - {{name: use, target: "m:f", {key.format('"${tasks.jan.outputs.rows.0}"')}}}
          - {{name: jan, uses: etl.yaml}}
        """,
    )
    use = job.tasks[0]
    assert [job.tasks[number].name for number, _ in job.needs[0]] == ["jan/extract"]
    found = getattr(use.task, key.partition(":")[0])
    assert only_reference(found) == ("tasks", "jan/extract", ("rows", "0"))
    # People see what they have written.
    assert str(next(references([found]))) == "${tasks.jan.outputs.rows.0}"


def test_an_output_may_be_part_of_a_string_and_be_given_to_another_recipe(desk):
    needs = desk.needs(
        etl=ETL,
        job="""
        tasks:
          - {name: jan, uses: etl.yaml}
          - {name: feb, uses: etl.yaml, with: {day: "after ${tasks.jan.outputs.total}"}}
          - {name: use, command: ["echo", "${tasks.jan.outputs.total} and ${tasks.feb.outputs.rows}"]}
        """,
    )
    assert needs["feb/extract"] == ["jan/load"]
    assert needs["use"] == ["jan/load", "feb/extract"]


def test_inner_tasks_may_be_named_as_before(desk):
    needs = desk.needs(
        etl=ETL,
        job="""
        tasks:
          - {name: jan, uses: etl.yaml}
          - {name: use, target: "m:f", args: ["${tasks.jan/load.result}", "${tasks.jan.result}"]}
        """,
    )
    assert needs["use"] == ["jan/load", "jan/extract"]


def test_a_recipe_hands_on_the_outputs_of_a_recipe_that_it_uses(desk):
    files = {
        "etl": ETL,
        "outer": """
        outputs: {count: "${tasks.inner.outputs.rows.length}"}
        tasks: [{name: inner, uses: etl.yaml}]
        """,
    }
    job = desk.job(
        **files,
        job="""
        tasks:
          - {name: o, uses: outer.yaml}
          - {name: a, target: "m:f", args: ["${tasks.o.outputs.count.x}"]}
          - {name: b, target: "m:f", args: ["${tasks.o/inner.outputs.total}"]}
        """,
    )
    first, second = (only_reference(task.task.args) for task in job.tasks[-2:])
    assert first == ("tasks", "o/inner/extract", ("rows", "length", "x"))
    assert second == ("tasks", "o/inner/load", ())


def test_an_output_may_be_the_list_of_the_results_of_a_group(desk):
    needs = desk.needs(
        parts="""
        outputs: {all: "${tasks.part.result}", one: "${tasks.part[n=2].result}"}
        tasks: [{name: part, target: "m:f", matrix: {n: [1, 2]}}]
        """,
        job="""
        tasks:
          - {name: p, uses: parts.yaml}
          - {name: all, target: "m:f", args: ["${tasks.p.outputs.all}"]}
          - {name: one, target: "m:f", args: ["${tasks.p.outputs.one}"]}
        """,
    )
    assert needs["all"] == ["p/part[n=1]", "p/part[n=2]"]
    assert needs["one"] == ["p/part[n=2]"]


def test_of_a_recipe_with_a_matrix_one_instance_has_outputs(desk):
    needs = desk.needs(
        etl=ETL,
        job="""
        tasks:
          - {name: m, uses: etl.yaml, matrix: {day: [a, b]}, with: {day: "${matrix.day}"}}
          - {name: use, target: "m:f", args: ["${tasks.m[day=b].outputs.total}"]}
          - {name: f, uses: etl.yaml, foreach: [a, b], with: {day: "${item}"}}
          - {name: use 2, target: "m:f", args: ["${tasks.f[1].outputs.total}"]}
        """,
    )
    assert needs["use"] == ["m[day=b]/load"]
    assert needs["use 2"] == ["f[1]/load"]


def test_a_list_of_instances_may_be_an_output(desk):
    job = desk.job(
        etl=ETL,
        job="""
        tasks:
          - {name: jan, uses: etl.yaml}
          - {name: each, target: "m:f", foreach: "${tasks.jan.outputs.rows}", args: ["${item}"]}
          - {name: combined, target: "m:f", matrix: {n: "${tasks.jan.outputs.rows}"}, args: ["${matrix.n}"]}
          - {name: listed, target: "m:f", foreach: ["${tasks.jan.outputs.total}", 2], args: ["${item}"]}
        """,
    )
    needs = {task.name: [job.tasks[n].name for n, _ in job.needs[i]] for i, task in enumerate(job.tasks)}
    assert needs["each"] == needs["combined"] == ["jan/extract"]
    assert needs["listed[0]"] == ["jan/load"]
    assert needs["listed[1]"] == []


def test_a_file_in_the_middle_may_be_named_by_a_param_of_its_user(desk):
    needs = desk.needs(
        etl=ETL,
        job="""
        params: {file: etl.yaml}
        tasks:
          - {name: jan, uses: "${params.file}"}
          - {name: use, target: "m:f", args: ["${tasks.jan.outputs.total}"]}
        """,
    )
    assert needs["use"] == ["jan/load"]


def test_a_recipe_that_a_recipe_names_by_its_param_has_no_outputs_outside_of_it(desk):
    found = desk.diagnostics(
        etl=ETL,
        outer="""
        params: {file: etl.yaml}
        outputs: {total: "${tasks.inner.outputs.total}"}
        tasks: [{name: inner, uses: "${params.file}"}]
        """,
        job="""
        tasks:
          - {name: o, uses: outer.yaml}
          - {name: use, target: "m:f", args: ["${tasks.o.outputs.total}"]}
        """,
    )
    assert found == [
        "4:40 `${tasks.o.outputs.total}` leads to the recipe `${params.file}`, which is not known here"
    ]


def test_with_missing_params_what_a_file_outputs_may_be_unknown(desk):
    desk.job(
        lenient=True,
        job="""
        params: {file: {required: true}}
        tasks:
          - {name: jan, uses: "${params.file}"}
          - {name: use, target: "m:f", args: ["${tasks.jan.outputs.total}"]}
        """,
    )


def test_what_refers_to_an_unknown_output_is_shown_all_at_once(desk):
    found = desk.diagnostics(
        etl=ETL,
        job="""
        tasks:
          - {name: jan, uses: etl.yaml}
          - {name: a, target: "m:f", args: ["${tasks.jan.outputs.totl}", "${tasks.jan.outputs.row}"]}
          - {name: b, target: "m:f", args: ["x ${tasks.jan.outputs.nothing}"]}
        """,
    )
    assert found == [
        "4:38 unknown output `totl` of `jan`",
        "4:67 unknown output `row` of `jan`",
        "5:40 unknown output `nothing` of `jan`",
    ]


def test_what_a_recipe_outputs_must_be_there(desk):
    found = desk.diagnostics(
        job="""
        outputs:
          a: ${tasks.lod.result}
          b: ${tasks.load[n=3].result}
          c: ${tasks.jan.outputs.x}
          d: ${tasks.load/x.result}
        tasks: [{name: load, target: "m:f", matrix: {n: [1]}}]
        """,
    )
    assert found == [
        "3:6 unknown task `lod`",
        "5:6 unknown task `jan`",
    ]
    found = desk.diagnostics(
        etl=ETL,
        job="""
        outputs:
          b: ${tasks.load[n=3].result}
          c: ${tasks.jan.outputs.x}
          d: ${tasks.jan/lod.result}
        tasks: [{name: load, target: "m:f", matrix: {n: [1]}}, {name: jan, uses: etl.yaml}]
        """,
    )
    assert found == [
        "3:6 unknown task `load[n=3]`",
        "4:6 unknown output `x` of `jan`",
        "5:6 unknown task `jan/lod`",
    ]


def test_a_recipe_that_cannot_be_read_is_the_only_error(desk):
    files = {"wrong": "tasks: [{name: a}]"}
    found = desk.diagnostics(
        **files,
        job="""
        tasks:
          - {name: jan, uses: nowhere.yaml}
          - {name: use, target: "m:f", args: ["${tasks.jan.outputs.total}"]}
          - {name: a, uses: wrong.yaml}
          - {name: use 2, target: "m:f", args: ["${tasks.a.outputs.total}"]}
        """,
    )
    assert len(found) == 2, found
    assert "nowhere.yaml" in found[0]
    assert "needs one of" in found[1]


def test_outputs_of_a_recipe_that_uses_itself_are_looked_up_to_an_end(desk):
    found = desk.diagnostics(
        job="""
        outputs: {x: "${tasks.self.outputs.x}"}
        tasks:
          - {name: self, uses: job.yaml}
          - {name: use, target: "m:f", args: ["${tasks.self.outputs.x}"]}
        """,
    )
    assert len(found) == 1
    assert "uses itself" in found[0]


def test_many_references_to_outputs_take_no_time(desk):
    tasks = "".join(
        f"\n  - {{name: use {n}, target: 'm:f', args: ['${{tasks.jan {n % 50}.outputs.rows.{n}}}']}}"
        for n in range(20_000)
    )
    uses = "".join(f"\n  - {{name: jan {n}, uses: etl.yaml}}" for n in range(50))
    desk.write(etl=ETL)
    (desk.path / "job.yaml").write_text(f"tasks:{uses}{tasks}\n")

    with quick(20):
        job = load_job_file(str(desk.path / "job.yaml"), {}, (), {})
    assert job.needs[-1] == ((98, "passed"),)


def test_the_plan_shows_what_is_written(desk):
    job = desk.job(
        etl=ETL,
        job="""
        tasks:
          - {name: jan, uses: etl.yaml}
          - {name: use, target: "m:f", args: ["${tasks.jan.outputs.total}"]}
        """,
    )
    assert "${tasks.jan.outputs.total}" in views(job)


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        ("nope:etl.yaml", ": package `nope` not found"),
        ("nowhere.yaml", ": "),
        ("wrong.yaml", ": "),
        ("loop.yaml", ""),
    ],
)
def test_an_output_of_a_recipe_that_is_used_no_times_is_not_left_as_a_text(desk, uses, why):
    (found,) = desk.diagnostics(
        wrong="tasks: [{name: a}]",
        loop="""
        outputs: {t: "${tasks.m[0].outputs.t}"}
        tasks: [{name: m, uses: loop.yaml, foreach: []}]
        """,
        job=f"""
        tasks:
          - {{name: m, uses: "{uses}", foreach: []}}
          - {{name: y, command: [echo, "${{tasks.m[0].outputs.t}}"]}}
        """,
    )
    assert f"the recipe that `${{tasks.m[0].outputs.t}}` leads to is not known{why}" in found
    assert found.startswith("4:")


@pytest.mark.parametrize("name", ["m/extract", "m"])
def test_a_task_without_outputs_is_named_as_it_can_be_referred_to(desk, name):
    desk.write(
        etl=ETL,
        job=f"""
        tasks:
          - {{name: m, {"uses: etl.yaml" if "/" in name else 'target: "m:f"'}}}
          - {{name: y, command: [echo, "${{tasks.{name}.outputs.t}}"]}}
        """,
    )
    with pytest.raises(JobFileError) as caught:
        load_job_file(str(desk.path / "job.yaml"), {}, (), {})
    assert caught.value.diagnostics[0].help == f"write `${{tasks.{name}.result}}`"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("e.output.total", "e.outputs.total"), ("e.results", "e.result"), ("e.results.0", "e.result.0")],
)
def test_a_singular_in_place_of_a_plural_is_put_right(written, meant):
    with pytest.raises(ReferenceProblem) as caught:
        parse(f"${{tasks.{written}}}")
    assert caught.value.help == f"did you mean `${{tasks.{meant}}}`?"


def test_what_is_far_from_a_result_has_no_remedy():
    with pytest.raises(ReferenceProblem) as caught:
        parse("${tasks.e}")
    assert not caught.value.help

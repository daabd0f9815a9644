"""C43: an instance takes the result of its sibling, and waits for that one alone."""

from __future__ import annotations

import pytest
from support.desk import Desk, views
from support.timing import cpu_seconds, growth, quick

from mprun.jobfile.loader import load_job_file
from mprun.jobfile.reference_syntax import parse
from mprun.jobfile.references import SiblingReference, references


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_selection_is_parsed_with_and_without_the_names_of_axes():
    found = parse("${tasks.a/b[f=${matrix.f},v${item.n}, 1].result.x.0}", "r/")
    assert isinstance(found, SiblingReference)
    assert (found.name, found.path) == ("r/a/b", ("x", "0"))
    assert [(axis, str(node)) for axis, node in found.selector] == [
        ("f", "${matrix.f}"),
        ("", "v${item.n}"),
        ("", "1"),
    ]
    (inside,) = references(parse("see ${tasks.a[${item}].result}"))
    assert isinstance(inside, SiblingReference)


KEYS = ["args: [{}]", "kwargs: {{k: {}}}", "command: [echo, {}]", "env: {{E: {}}}", "when: {}"]
SELECTIONS = ["f=${matrix.f}", "${matrix.f}", "${matrix.f},n=1", "n=1,f=${matrix.f}", "x${matrix.g}"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_each_instance_depends_on_the_one_that_it_selects(desk, key, selection):
    run = "" if key.startswith("command") else "target: 'm:f', "
    value = f'"${{tasks.dl[{selection}].result.x}}"'
    needs = desk.needs(
        job=f"""
        tasks:
          - {{name: use, {run}{key.format(value)},
             matrix: {{f: [xb, xa], g: [b, a], exclude: [{{f: xb, g: a}}, {{f: xa, g: b}}]}}}}
          - {{name: dl, target: "m:f", matrix: {{f: [xa, xb], n: [1]}}}}
        """
    )
    assert needs["use[f=xa,g=a]"] == ["dl[f=xa,n=1]"]
    assert needs["use[f=xb,g=b]"] == ["dl[f=xb,n=1]"]


def test_values_are_compared_by_type_and_else_by_text(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: dl, target: "m:f", matrix: {v: [1, "1", 1.5, true, "a,b", {k: 1}, null]}}
          - {name: use, target: "m:f", matrix: {v: [1.5, "1", 1, true, "a,b", {k: 1}, null]},
             args: ["${tasks.dl[${matrix.v}].result}"]}
          - {name: text, target: "m:f", foreach: ["1.5", "true"], args: ["${tasks.dl[v=${item}].result}"]}
        """
    )
    dl = [name for name in needs if name.startswith("dl")]
    use = [needs[name] for name in needs if name.startswith("use")]
    assert use == [[dl[2]], [dl[1]], [dl[0]], [dl[3]], [dl[4]], [dl[5]], [dl[6]]]
    assert [needs[f"text[{n}]"] for n in (0, 1)] == [[dl[2]], [dl[3]]]


def test_an_item_that_is_there_twice_is_found_by_its_index(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: dl, target: "m:f", foreach: [a, b, a, "${tasks.x.result}"], args: ["${item}"]}
          - {name: use, target: "m:f", foreach: [a, b, a, "${tasks.x.result}"],
             args: ["${tasks.dl[${item}].result}"]}
          - {name: x, target: "m:f"}
        """
    )
    assert [needs[f"use[{n}]"] for n in range(3)] == [["dl[0]"], ["dl[1]"], ["dl[2]"]]
    assert set(needs["use[3]"]) == {"dl[3]", "x"}


def test_in_a_recipe_the_instance_is_one_of_the_recipe_and_with_selects_in_the_file_that_uses_it(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: dl, target: "m:f", matrix: {f: [a, b]}}
          - {name: r, uses: recipe.yaml, matrix: {f: [a, b]}, with: {v: "${tasks.dl[${matrix.f}].result}"}}
          - {name: w, uses: recipe.yaml, foreach: [b], when: "${tasks.dl[${item}].result}",
             env: {E: "${tasks.dl[a].result}"}}
        """.replace("${tasks.dl[a].result}", "${tasks.dl[f=a].result}"),
        recipe="""
        params: {v: {type: string}}
        tasks:
          - {name: in, target: "m:f", matrix: {z: [1, 2]}, args: ["${params.v}"]}
          - {name: out, target: "m:f", matrix: {z: [2, 1]}, args: ["${tasks.in[${matrix.z}].result}"]}
        """,
    )
    assert needs["r[f=a]/in[z=1]"] == ["dl[f=a]"]
    assert needs["r[f=b]/out[z=2]"] == ["r[f=b]/in[z=2]"]
    assert set(needs["w[0]/in[z=1]"]) == {"dl[f=a]", "dl[f=b]"}


def test_who_waits_for_all_does_not_wait_for_one(desk):
    needs = desk.needs(
        job="""
        tasks:
          - {name: dl, target: "m:f", matrix: {f: [a, b]}}
          - {name: use, target: "m:f", matrix: {f: [a]}, args: ["${tasks.dl[${matrix.f}].result}"],
             depends_on: {dl: finished}}
        """
    )
    assert needs["use[f=a]"] == ["dl[f=a]", "dl[f=b]"]


def test_the_plan_shows_what_is_selected(desk):
    job = desk.job(
        job="""
        tasks:
          - {name: dl, target: "m:f", matrix: {f: [a]}}
          - {name: use, target: "m:f", matrix: {f: [a]}, args: ["${tasks.dl[f=${matrix.f}].result.x}"]}
        """
    )
    assert "${tasks.dl[f=a].result.x}" in views(job)
    assert "after dl[f=a]" in views(job)


DL = "- {name: dl, target: 'm:f', matrix: {f: [a, b], n: [1, 2]}}"


SEVERAL = "is not one instance: it could be any of `dl[f=a,n=1]`, `dl[f=a,n=2]`"
NESTED = "a reference may contain others only to select an instance of a task"
INSIDE = "is not available inside of a reference"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("tasks.dl[f=${matrix.f}].result", f"`${{tasks.dl[f=a].result}}` {SEVERAL}"),
        ("tasks.dl[${matrix.f},].result", f"`${{tasks.dl[a].result}}` {SEVERAL}"),
        ("tasks.dl[${matrix.f},3].result", "`${tasks.dl[a,3].result}`: no such instance of `dl`"),
        ("tasks.dl[${matrix.f},1,2].result", "`${tasks.dl[a,1,2].result}`: `dl` has 2 axes"),
        ("tasks.dl[f=${matrix.f},f=b].result", "`${tasks.dl[f=a,f=b].result}`: `dl` has 2 axes"),
        ("tasks.dl[g=${matrix.f}].result", "unknown axis `g` of `dl`"),
        ("tasks.dl[${matrix.x}].result", "unknown axis `x`"),
        ("tasks.dl[${item}].result", "`${item}` is only available in a task with `foreach`"),
        ("tasks.ld[${matrix.f}].result", "unknown task `ld`"),
        ("tasks.one[${matrix.f}].result", "`one` has neither `matrix` nor `foreach`"),
        ("tasks.use[${matrix.f}].result", "task `use` depends on itself"),
        ("tasks.dl[${params.f}].result", f"`${{params.f}}` {INSIDE}"),
        ("tasks.dl[${tasks.one.result}].result", f"`${{tasks.one.result}}` {INSIDE}"),
        ("tasks.dl[,${matrix.f}].result", "invalid selection `[,${matrix.f}]`: a value is missing"),
        ("tasks.${matrix.f}.result", f"`${{tasks.${{matrix.f}}.result}}`: {NESTED}"),
        ("tasks.dl[${matrix.f}]", f"`${{tasks.dl[${{matrix.f}}]}}`: {NESTED}"),
        ("params.${matrix.f}", f"`${{params.${{matrix.f}}}}`: {NESTED}"),
        ("tasks.dl[${matrix.${item}}].result", f"`${{tasks.dl[${{matrix.${{item}}}}].result}}`: {NESTED}"),
    ],
)
def test_another_nesting_is_refused_by_name_at_its_place(desk, reference, message):
    found = desk.diagnostics(
        job=f"""
        tasks:
          {DL}
          - {{name: one, target: "m:f"}}
          - {{name: use, target: "m:f", matrix: {{f: [a, b]}}, args: ["${{{reference}}}"]}}
        """
    )
    assert [line.partition(" ")[2] for line in found] == [message]
    assert found[0].startswith("5:61 ")


def test_very_many_siblings_are_found_quickly(desk):
    job = """
        tasks:
          - {name: dl, target: "m:f", matrix: &m {a: &v [NUMBERS], b: *v}}
          - {name: use, target: "m:f", matrix: *m, args: ["${tasks.dl[${matrix.a},b=${matrix.b}].result}"]}
        """.replace("NUMBERS", ", ".join(map(str, range(60))))
    with quick(20):
        needs = desk.needs(job=job)
    assert needs["use[a=59,b=7]"] == ["dl[a=59,b=7]"]


@pytest.mark.parametrize("item", ["k{}", "same", "${{tasks.x.result}}"])
def test_the_time_grows_with_the_number_of_instances_and_not_its_square(tmp_path, item):
    def loaded(count):
        path = tmp_path / f"{count}.yaml"
        items = ", ".join(f'"{item.format(number)}"' for number in range(count))
        path.write_text(
            f"""tasks:
              - {{name: x, target: "m:f"}}
              - {{name: dl, target: "m:f", foreach: &items [{items}]}}
              - {{name: use, target: "m:f", foreach: *items, args: ["${{tasks.dl[${{item}}].result}}"]}}
            """
        )
        return path

    def spent(path):
        return cpu_seconds(lambda: load_job_file(str(path), {}, (), {}))

    few, many = loaded(1_000), loaded(8_000)
    # As with the tasks of `test_task_checks.py`: 8 if the time is linear, 64 if it is quadratic.
    assert growth(lambda: spent(few), lambda: spent(many)) < 24

"""Errors that are found after a file was read are located at the reference that causes them."""

import textwrap

import pytest

from mprun import api
from mprun.errors import JobFileError
from mprun.jobfile import locate
from mprun.jobfile.loader import load_job_file


@pytest.fixture
def errors(tmp_path, monkeypatch):
    """Load `job.yaml`: the file, line and column of each error, and the text that its carets mark."""
    monkeypatch.chdir(tmp_path)

    def load(*, job, **files):
        for name, text in {"job": job, **files}.items():
            (tmp_path / f"{name}.yaml").write_text(textwrap.dedent(text), encoding="utf-8")
        with pytest.raises(JobFileError) as caught:
            load_job_file("job.yaml", {}, (), {})
        return [marked(one) for one in caught.value.diagnostics]

    return load


def marked(diagnostic):
    span = diagnostic.span
    line = diagnostic.source.lines[span.line - 1]
    return diagnostic.source.path, span.line, span.column, line[span.column - 1 :][: span.width]


def last(text, reference, file="job.yaml"):
    """Where a reference is written last in a file."""
    text = textwrap.dedent(text)
    before = text[: text.rindex(reference)]
    return file, before.count("\n") + 1, len(before) - before.rfind("\n"), reference


@pytest.mark.parametrize(
    "args",
    [
        '["$${params.n.x} is literal", "${params.n.x}"]',
        '["$${params.n.x} ${params.n.x}"]',
        "['it''s $${params.n.x} ${params.n.x}']",
        '["\\t$${params.n.x}\\t${params.n.x}"]',
        '["${params.n}", "${params.n.x}"]',
        '[{"$${params.n.x}": "${params.n.x}"}]',
        '[{"${params.n.x}": 1}]',
        '["${params.n}${params.n.x}"]',
        '[&anchor "$${params.n.x} ${params.n.x}"]',
    ],
)
def test_the_caret_is_under_the_reference_itself(errors, args):
    job = f"""\
        params: {{n: 3}}
        tasks:
        - {{target: 'm:f', args: {args}}}
    """
    assert errors(job=job) == [last(job, "${params.n.x}")]


def test_a_string_that_is_written_with_escapes_is_marked_as_a_whole(errors):
    job = """\
        params: {n: 3}
        tasks:
        - {target: 'm:f', args: ["\\x24{params.n.x}", "${params.n}"]}
    """
    assert errors(job=job) == [last(job, '"\\x24{params.n.x}"')]


@pytest.mark.parametrize("style", [">-", "|", "> # ${params.n.y}"])
def test_a_reference_in_a_text_block_is_marked_on_its_line(errors, style):
    job = f"""\
        params: {{n: 3}}
        tasks:
        - target: m:f
          args:
          - {style}
            $${{params.n.x}} is literal
            and ${{params.n.x}}
    """
    assert errors(job=job) == [last(job, "${params.n.x}")]


def test_a_reference_of_the_defaults_is_marked_there(errors):
    job = """\
        params: {n: 3}
        defaults: {args: ["$${params.n.x}", "${params.n.x}"]}
        tasks:
        - {target: 'm:f'}
    """
    assert errors(job=job) == [last(job, "${params.n.x}")]


@pytest.mark.parametrize("key", ["cwd", "when", "command", "args", "kwargs", "foreach"])
def test_a_reference_that_is_all_of_a_key_is_marked(errors, key):
    target = "" if key == "command" else "target: 'm:f', "
    job = f"""\
        params: {{n: 3}}
        tasks:
        - {{{target}description: "${{params.n.x}}", {key}: "${{params.n.x}}"}}
    """
    assert errors(job=job) == [last(job, "${params.n.x}")]


def test_a_reference_in_an_expected_result_is_marked(errors):
    job = """\
        tasks:
        - {target: 'm:f', name: a, matrix: {m: [1]}}
        - {target: 'm:f', args: ["$${tasks.a[m=2].result}"], expect: {result: "${tasks.a[m=2].result}"}}
    """
    assert errors(job=job) == [last(job, "${tasks.a[m=2].result}")]


def test_a_reference_in_a_key_that_a_matrix_decides_is_marked(errors):
    job = """\
        tasks:
        - {target: 'm:f', matrix: {m: [1]}, args: ["$${matrix.m.x}"], timeout: "${matrix.m.x}"}
    """
    assert errors(job=job) == [last(job, "${matrix.m.x}")]


def test_a_value_given_to_a_recipe_is_marked_where_it_was_given(errors):
    job = """\
        params: {n: 3}
        tasks:
        - {name: a, uses: r.yaml, with: {x: "$${params.n.x} ${params.n.x}"}}
    """
    recipe = """\
        params: {x: ''}
        tasks:
        - {target: 'm:f', args: ["${params.x}"]}
    """
    assert errors(job=job, r=recipe) == [last(job, "${params.n.x}")]


def test_a_dependency_made_in_a_recipe_is_marked_in_the_recipe(errors):
    job = """\
        tasks:
        - {name: a, uses: r.yaml, with: {x: 3}}
    """
    recipe = """\
        params: {x: 0}
        tasks:
        - {target: 'm:f', args: ["$${params.x.y} ${params.x.y}"]}
    """
    assert errors(job=job, r=recipe) == [last(recipe, "${params.x.y}", "r.yaml")]


def test_a_missing_result_is_marked_at_its_reference(errors):
    job = """\
        tasks:
        - {name: a, target: 'm:f', matrix: {m: [1]}}
        - {target: 'm:f', args: ["$${tasks.a[m=2].result}", "${tasks.a[m=2].result}"]}
    """
    assert errors(job=job) == [last(job, "${tasks.a[m=2].result}")]


def test_a_result_that_an_item_refers_to_is_marked_in_the_list(errors):
    job = """\
        tasks:
        - {name: a, target: 'm:f', matrix: {m: [1]}}
        - {target: 'm:f', args: ["${item}"], foreach: ["$${tasks.a[m=2].result}", "${tasks.a[m=2].result}"]}
    """
    assert errors(job=job) == [last(job, "${tasks.a[m=2].result}")]


def test_a_result_that_a_recipe_waits_for_is_marked_where_it_is_used(errors):
    job = """\
        tasks:
        - {name: a, target: 'm:f', matrix: {m: [1]}}
        - {name: b, uses: r.yaml, with: {x: "$${tasks.a[m=2].result} ${tasks.a[m=2].result}"}}
    """
    recipe = """\
        params: {x: ''}
        tasks:
        - {target: 'm:f', args: ["${params.x}"]}
    """
    assert errors(job=job, r=recipe) == [last(job, "${tasks.a[m=2].result}")]


def test_a_variable_of_a_declaration_is_marked_in_it(errors):
    job = """\
        params: {a: "$${env.NOPE}", b: "${env.NOPE}"}
        tasks:
        - {target: 'm:f'}
    """
    assert errors(job=job) == [last(job, "${env.NOPE}")]


def test_an_item_before_the_run_is_marked_at_its_reference(errors):
    job = """\
        tasks:
        - {name: a, target: 'm:f'}
        - {target: 'm:f', foreach: "${tasks.a.result}", depends_on: ["a", "${item}"]}
    """
    assert errors(job=job) == [last(job, "${item}")]


def test_a_result_that_is_left_out_is_marked_at_its_reference(tmp_path):
    text = """\
        tasks:
        - {name: a, target: 'm:f'}
        - {name: b, target: 'm:f', args: ["$${tasks.a.result}", "${tasks.a.result}"]}
    """
    path = tmp_path / "job.yaml"
    path.write_text(textwrap.dedent(text))
    job = api.load_job(path)
    (diagnostic,) = locate.left_out(job, [1])
    assert marked(diagnostic) == last(text, "${tasks.a.result}", str(path))

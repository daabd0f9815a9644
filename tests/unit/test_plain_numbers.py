"""C41: a plain number that loses characters, such as 3.10, is warned of once, with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.desk import Desk
from support.runs import mprun

from mprun.jobfile.syntax.scalars import loses_characters, resolve


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def warned(job):
    return [f"{one.span.line}:{one.span.column} {one.message}; {one.help}" for one in job.warnings]


LOSSY = "3.10 1.00 010 007 +5 -0 +1.5 01.5 -3.10 0.1234567890123456789 00.5 0.0000010"
WHOLE = (
    "0 -1 10 3.1 3.0 -0.5 .5 1. 100.0 0.00001 1e3 1e-3 0x1F 0o17 -.5 0.0 -0.0 1.0e5 .inf .nan true "
    "100000000000000000000.0 123456789012345678901234567890"
)


@pytest.mark.parametrize("text", LOSSY.split())
def test_these_numbers_lose_characters(text):
    assert loses_characters(text, resolve(text))


@pytest.mark.parametrize("text", WHOLE.split())
def test_these_do_not(text):
    assert not loses_characters(text, resolve(text))


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_as_python_writes_it_loses_nothing(number):
    assert not loses_characters(repr(number), resolve(repr(number)))


def test_every_value_that_is_used_or_shown_is_looked_at(desk):
    job = desk.job(
        job="""
        params: {a: 1.10, b: {default: 1.20}, c: {enum: [1.3, 1.30], default: 1.3}, d: [1.40]}
        defaults: {kwargs: {x: {y: [1.50]}}}
        tasks:
          - {name: m, target: "m:f",
             matrix: {v: [3.9, 3.10], include: [{v: 3.9, w: 1.60}], exclude: [{v: 1.70}]}}
          - {name: e, target: "m:f", foreach: [1.80], args: [1.90, "2.10"], expect: {result: [2.20]}}
          - {name: r, uses: recipe.yaml, with: {p: 2.30}}
        """,
        recipe="""
        params: {p: 2.40}
        tasks: [{target: "m:f", args: [{k: 2.50}]}]
        """,
    )
    said = [line.split()[1].strip("`") for line in warned(job)]
    assert said[:5] == ["1.10", "1.20", "1.30", "1.40", "1.50"]
    assert said[5:] == ["3.10", "1.60", "1.70", "1.80", "1.90", "2.20", "2.30", "2.40", "2.50"]
    assert warned(job)[5] == '6:24 `3.10` is the number 3.1; quote it: `"3.10"`'


def test_the_remedies_for_a_number_in_with_do_not_contradict_one_another(desk):
    """Quoted, it is refused by a param that is a number; plain, by one that is a string."""
    recipe = "{{params: {{p: {}, l: [1]}}, tasks: [{{target: 'm:f'}}]}}\n"
    job = "tasks: [{{name: r, uses: recipe.yaml, with: {{p: {}, l: [{}]}}}}]\n"
    for param in ("3.9", "{type: number}"):
        path = desk.job(job=job.format("3.10", "'1.50'"), recipe=recipe.format(param))
        assert warned(path) == [
            "1:48 `3.10` is the number 3.1; "
            "if it is meant as text, quote it, and declare the param with `type: string`"
        ]
    path = desk.job(job=job.format("'3.10'", "1.50"), recipe=recipe.format("{type: string}"))
    assert warned(path) == ['1:60 `1.50` is the number 1.5; quote it: `"1.50"`']


def test_where_a_number_or_the_text_is_wanted_nothing_is_said(desk):
    job = desk.job(
        job="""
        x-mine: [3.10]
        params: {n: {type: number, default: 1.50}, i: {type: integer, default: 010}, s: {default: "1.10"}}
        timeout: 10.50
        env: {A: 3.10}
        tasks:
          - {command: [echo, 3.10], timeout: 5.00, retry: {delay: 1.50, retries: 02}, env: {B: 010}}
          - {target: "m:f", args: ["3.10", 0x10, 1e3], expect: {max_seconds: 1.50}, when: 1.50}
        """
    )
    assert warned(job) == []


def test_a_number_that_aliases_repeat_is_said_once_where_it_is_used(desk):
    job = desk.job(
        job="""
        x-versions: &versions [3.9, 3.10]
        x-one: &one 1.20
        tasks:
          - {name: a, target: "m:f", matrix: {v: *versions}}
          - {name: b, target: "m:f", matrix: {v: *versions}, args: [*one]}
        """
    )
    assert warned(job) == [
        '2:29 `3.10` is the number 3.1; quote it: `"3.10"`',
        '6:61 `1.20` is the number 1.2; quote it: `"1.20"`',
    ]


def test_a_text_that_becomes_a_number_only_by_the_default_is_said(desk):
    text = """
    params: {v: 3.9, n: {type: number, default: 3.9}, s: "3.9"}
    tasks: [{target: "m:f"}]
    """
    assert warned(desk.job("v=3.10", "n=3.10", "s=3.10", job=text)) == [
        "2:10 `3.10`, given for param `v`, is the number 3.1; declare the param with `type: string`"
    ]
    assert warned(desk.job(job=text, env={"MPRUN_PARAM_V": "010"})) != []
    assert warned(desk.job("v=3.1", job=text)) == []


def test_validate_plan_and_run_say_it_once(tmp_path):
    (tmp_path / "job.yaml").write_text(
        "tasks: [{command: [echo, '${matrix.v}'], matrix: {v: [3.9, 3.10]}}]\n"
    )
    for command in (("validate", "job.yaml"), ("plan", "job.yaml"), ("run", "job.yaml")):
        run = mprun(*command, cwd=tmp_path)
        assert run.code == 0
        warnings = [line for line in run.stderr.splitlines() if "warning" in line]
        assert warnings == ['warning: job.yaml:1:60: `3.10` is the number 3.1; quote it: `"3.10"`']


def test_of_very_many_ten_are_shown(tmp_path):
    (tmp_path / "job.yaml").write_text(f"tasks: [{{target: 'm:f', args: [{'1.10, ' * 50_000}]}}]\n")
    lines = mprun("validate", "job.yaml", cwd=tmp_path).stderr.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "warning: there are more of these warnings"

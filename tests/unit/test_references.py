"""References: how they are parsed, and the errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.jobfile.reference_syntax import compiled, parse
from mprun.jobfile.references import (
    Reference,
    ReferenceProblem,
    Scope,
    Template,
    escaped,
    references,
)
from mprun.jobfile.resolution import Resolver, resolve


def diagnostic(call, *arguments):
    with pytest.raises(ReferenceProblem) as caught:
        call(*arguments)
    return caught.value


# -- parsing


@pytest.mark.parametrize(
    ("text", "root", "name", "path"),
    [
        ("params.n", "params", "n", ()),
        ("params.a-b_1.x.0", "params", "a-b_1", ("x", "0")),
        ("env.HOME", "env", "HOME", ()),
        ("matrix.model", "matrix", "model", ()),
        ("item", "item", "", ()),
        ("item.0.name", "item", "", ("0", "name")),
        ("tasks.fetch.result", "tasks", "fetch", ()),
        ("tasks.fetch.result.rows.0", "tasks", "fetch", ("rows", "0")),
        ("tasks.v1.2.result.x", "tasks", "v1.2", ("x",)),
        ("tasks.a.result.result", "tasks", "a", ("result",)),
        ("tasks.t[n=1.5,m=a b].result", "tasks", "t[n=1.5,m=a b]", ()),
        ("tasks.etl/load.result", "tasks", "etl/load", ()),
        ("tasks.跳舞.result", "tasks", "跳舞", ()),
    ],
)
def test_a_reference_has_a_root_a_name_and_a_path(text, root, name, path):
    reference = parse(f"${{{text}}}")
    assert reference == Reference(text=text, root=root, name=name, path=path)
    assert str(reference) == f"${{{text}}}"


def test_the_tasks_of_a_recipe_are_its_own():
    reference = parse("${tasks.fetch.result}", "etl/")
    assert (reference.name, str(reference)) == ("etl/fetch", "${tasks.fetch.result}")
    assert parse("${params.n}", "etl/").name == "n"


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$ {x} $x {} $$", "$ {x} $x {} $$"),
        ("$${params.n}", "${params.n}"),
        ("$$${params.n}", "$${params.n}"),
        ("a $${ b", "a ${ b"),
        ("$${$${", "${${"),
    ],
)
def test_text_without_a_reference_is_itself(text, node):
    assert parse(text) == node


@pytest.mark.parametrize(
    "text",
    [
        "x ${params.n}",
        "${params.n} x",
        "${params.n}${params.n}",
        "$${literal} and ${params.n}",
        "${params.n}$${literal}",
        "{${params.n}}",
    ],
)
def test_text_around_references_is_a_template_that_is_written_as_it_was(text):
    template = parse(text)
    assert isinstance(template, Template)
    assert str(template) == text


@pytest.mark.parametrize(
    ("text", "message", "help"),
    [
        ("${", "unclosed `${`", "add the missing `}`, or write `$${` for a literal `${`"),
        ("x ${params.n", "unclosed `${`", "add the missing `}`, or write `$${` for a literal `${`"),
        (
            "${params.${env.A}}",
            "`${params.${env.A}}`: a reference may contain others only to select an instance of a task",
            "write `${tasks.NAME[${matrix.KEY}].result}`",
        ),
        (
            "${}",
            "unknown reference `${}`: expected `params.`, `env.`, `matrix.`, `item` or `tasks.`",
            "write `$${}` for a literal one",
        ),
        (
            "${HOME}",
            "unknown reference `${HOME}`",
            "write `${env.HOME}`, or `$${HOME}` for a literal one",
        ),
        ("${ params.n }", "unknown reference `${ params.n }`", "write `$${ params.n }`"),
        (
            "${param.n}",
            "unknown reference `${param.n}`",
            "write `${params.n}`, or `$${param.n}` for a literal one",
        ),
        (
            "${task.a.result}",
            "unknown reference `${task.a.result}`",
            "write `${tasks.a.result}`, or `$${task.a.result}` for a literal one",
        ),
        (
            "${envs.HOME}",
            "unknown reference `${envs.HOME}`",
            "write `${env.HOME}`, or `$${envs.HOME}` for a literal one",
        ),
        (
            "${Items.x}",
            "unknown reference `${Items.x}`",
            "write `${item.x}`, or `$${Items.x}` for a literal one",
        ),
        ("${other.x}", "unknown reference `${other.x}`", "write `$${other.x}` for a literal one"),
        ("${params}", "invalid reference `${params}`; expected `${params.NAME}`", ""),
        ("${params.}", "invalid reference `${params.}`; expected `${params.NAME}`", ""),
        ("${env..x}", "invalid reference `${env..x}`; expected `${env.NAME}`", ""),
        ("${item.}", "invalid reference `${item.}`; expected `${item}`", ""),
        ("${tasks}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks.a}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks.a.results}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks..result}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks.result}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks.a.result.}", "; expected `${tasks.NAME.result}`", ""),
        ("${tasks.a.result..x}", "; expected `${tasks.NAME.result}`", ""),
    ],
)
def test_an_invalid_reference_is_refused_with_a_remedy(text, message, help):
    found = diagnostic(parse, text)
    assert message in str(found)
    assert found.help.startswith(help)


def test_a_long_reference_is_shortened_in_the_error():
    found = diagnostic(parse, f"${{{'x' * 5000}}}")
    assert len(str(found)) < 200
    assert len(found.help) < 200


@given(st.text())
def test_any_text_that_is_escaped_is_read_as_itself(text):
    assert parse(escaped(text)) == text


@given(st.text(alphabet="${}a"), st.text(alphabet="${}a"))
def test_escaped_text_around_a_reference_is_text(before, after):
    # A dollar sign before a reference would escape it.
    before = before.rstrip("$")
    node = parse(f"{escaped(before)}${{params.n}}{escaped(after)}")
    assert resolve(node, Resolver(Scope(params={"n": 3}, env={}))) == (
        f"{before}3{after}" if before or after else 3
    )


@given(st.text(alphabet="${}abparms.n "))
def test_a_parsed_reference_can_be_written_and_parsed_again(text):
    try:
        node = parse(text)
    except ReferenceProblem:
        return
    assert parse(escaped(node) if isinstance(node, str) else str(node)) == node


# -- trees


def test_a_tree_is_compiled_with_its_keys():
    node = compiled({"a": ["${params.n}", 1, None], "${env.HOME}": {"b": "x"}, 5: True, "$${k}": ("t",)})
    assert node == {
        "a": [parse("${params.n}"), 1, None],
        parse("${env.HOME}"): {"b": "x"},
        5: True,
        "${k}": ["t"],
    }
    assert [str(found) for found in references(node)] == ["${params.n}", "${env.HOME}"]


def test_every_reference_of_a_tree_is_found():
    node = compiled(["${params.n} and ${env.A}", {"${item}": {"x ${matrix.m}": "${tasks.a.result}"}}])
    assert [found.root for found in references(node)] == ["params", "env", "item", "matrix", "tasks"]
    assert list(references(compiled({"a": ["plain", 1, "$${x}"]}))) == []

"""References: how they are parsed and resolved, and the errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.jobfile.references import (
    EMPTY,
    Reference,
    ReferenceProblem,
    Scope,
    Template,
    compiled,
    escaped,
    parse,
    references,
)
from mprun.jobfile.resolution import HIDDEN, Resolver, as_text, is_true, resolve, shown

SCOPE = Scope(
    params={
        "n": 3,
        "on": True,
        "none": None,
        "list": [1, "two"],
        "deep": {"a": {"b": [10, 20]}},
        "token": "hunter2",
        "late": parse("${tasks.fetch.result.rows}"),
        "mixed": parse("at ${tasks.fetch.result}"),
    },
    secrets=frozenset({"token"}),
    env={"HOME": "/root", "TWO": "2"},
)


def resolved(node, **more):
    return resolve(compiled(node), Resolver(SCOPE, **more))


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
            "unclosed `${`",
            "add the missing `}`, or write `$${` for a literal `${`",
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
        ("${param.n}", "unknown reference `${param.n}`", "write `$${param.n}` for a literal one"),
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
    assert resolve(node, Resolver(SCOPE)) == (f"{before}3{after}" if before or after else 3)


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


def test_resolving_makes_a_copy():
    node = compiled({"a": ["x"]})
    copy = resolve(node, Resolver(EMPTY))
    copy["a"].append("y")
    assert node == {"a": ["x"]}


# -- values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${params.n}", 3),
        ("${params.on}", True),
        ("${params.none}", None),
        ("${params.list}", [1, "two"]),
        ("${params.list.1}", "two"),
        ("${params.deep.a.b.0}", 10),
        ("${env.TWO}", "2"),
        ("${matrix.m}", 1.5),
        ("${item}", {"k": [True]}),
        ("${item.k.0}", True),
    ],
)
def test_a_whole_reference_keeps_the_type(text, value):
    found = resolved(text, axes=("m", "item"), values=(1.5, {"k": [True]}))
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n${params.n}", "n3"),
        ("${params.n}${params.n}", "33"),
        ("is ${params.on}", "is true"),
        ("is ${params.none}", "is null"),
        ("${params.list}!", '[1, "two"]!'),
        ("${params.deep} ", '{"a": {"b": [10, 20]}} '),
        ("~${env.HOME}", "~/root"),
        ("$${x} ${params.n}", "${x} 3"),
    ],
)
def test_inside_a_string_a_value_is_json(text, value):
    assert resolved(text) == value


def test_json_inside_a_string_is_json_with_any_key():
    scope = SCOPE.replace(params={"map": {True: 1, None: 2, 1.5: "跳"}})
    text = resolve(parse("=${params.map}"), Resolver(scope))
    assert text == '={"true": 1, "null": 2, "1.5": "跳"}'
    assert as_text({"a": parse("${item}")}) == '{"a": "${item}"}'


def test_keys_are_resolved_too():
    assert resolved({"${env.HOME}": {"${params.n}": 1}, "x${params.n}": 2}) == {"/root": {3: 1}, "x3": 2}


@pytest.mark.parametrize(("name", "what"), [("list", "list"), ("deep", "mapping")])
def test_a_key_that_would_be_a_list_or_a_mapping_is_refused(name, what):
    found = diagnostic(resolved, {f"${{params.{name}}}": 1})
    assert str(found) == f"`${{params.{name}}}` is a {what}, which cannot be used as a key"


@pytest.mark.parametrize(
    ("text", "message", "word", "candidates"),
    [
        ("${params.m}", "unknown param `m`", "m", tuple(SCOPE.params)),
        ("${env.HOEM}", "environment variable `HOEM` is not set", "", ()),
        ("${params.deep.b}", "invalid reference `${params.deep.b}`: unknown key `b`", "b", ("a",)),
        ("${params.list.2}", "invalid reference `${params.list.2}`: no `2` in a list of 2 items", "", ()),
        ("${params.list.-1}", "invalid reference `${params.list.-1}`: no `-1` in a list of 2 items", "", ()),
        ("${params.list.x}", "invalid reference `${params.list.x}`: no `x` in a list of 2 items", "", ()),
        ("${params.n.x}", "invalid reference `${params.n.x}`: no `x` in a number", "", ()),
        ("${params.on.x}", "invalid reference `${params.on.x}`: no `x` in a boolean", "", ()),
        ("${params.none.x}", "invalid reference `${params.none.x}`: no `x` in null", "", ()),
        ("${env.HOME.0}", "invalid reference `${env.HOME.0}`: no `0` in a string", "", ()),
        ("${params.mixed.x}", "invalid reference `${params.mixed.x}`: a string has no parts", "", ()),
    ],
)
def test_an_invalid_path_names_the_value_or_its_keys(text, message, word, candidates):
    found = diagnostic(resolved, text)
    assert (str(found), found.word, tuple(found.candidates)) == (message, word, candidates)


# -- values that are known later


def test_a_reference_without_a_value_yet_stays():
    assert resolved("${tasks.a.result}") == parse("${tasks.a.result}")
    assert resolved("${item.x}") == parse("${item.x}")
    assert str(resolved("n=${params.n} r=${tasks.a.result} $${x}")) == "n=3 r=${tasks.a.result} $${x}"


def test_a_param_that_is_known_later_stays_a_reference_to_its_value():
    assert str(resolved("${params.late}")) == "${tasks.fetch.result.rows}"
    assert str(resolved("${params.late.0}")) == "${tasks.fetch.result.rows.0}"
    assert str(resolved("= ${params.late}")) == "= ${tasks.fetch.result.rows}"
    assert str(resolved("= ${params.mixed}!")) == "= at ${tasks.fetch.result}!"


def test_results_come_from_the_given_function():
    asked = []

    def results(reference):
        asked.append(reference.name)
        return {"rows": [7, 8]}

    found = resolved(
        ["${tasks.fetch.result.rows.1}", "${params.late.0}", "${params.mixed}", "x${params.late}"],
        results=results,
    )
    assert found == [8, 7, 'at {"rows": [7, 8]}', "x[7, 8]"]
    assert set(asked) == {"fetch"}


def test_a_result_without_the_requested_part_is_an_error():
    found = diagnostic(
        resolve, compiled("${tasks.a.result.rows}"), Resolver(SCOPE, results=lambda reference: {"row": 1})
    )
    assert (str(found), found.word, found.candidates) == (
        "invalid reference `${tasks.a.result.rows}`: unknown key `rows`",
        "rows",
        ("row",),
    )


def test_resolved_text_is_not_parsed_again():
    scope = SCOPE.replace(params={"p": "${env.HOME}", "q": "$${x}"})
    assert resolve(compiled(["${params.p}", "-${params.p}", "-${params.q}"]), Resolver(scope)) == [
        "${env.HOME}",
        "-${env.HOME}",
        "-$${x}",
    ]


# -- views


def test_a_secret_is_shown_only_if_asked_for():
    node = ["${params.token}", "Bearer ${params.token}", {"k": "${params.token}"}, "${params.token.x}"]
    hidden = resolved(node)
    assert hidden == [HIDDEN, f"Bearer {HIDDEN}", {"k": HIDDEN}, HIDDEN]
    assert resolved(node[:3], reveal=True) == ["hunter2", "Bearer hunter2", {"k": "hunter2"}]


def test_a_secret_in_the_value_of_a_param_is_hidden_and_revealed_with_it():
    scope = SCOPE.replace(params={**SCOPE.params, "url": parse("x://${params.token}@h")})
    results = dict.fromkeys(["results"], lambda reference: None)
    assert resolve(parse("${params.url}"), Resolver(scope, **results)) == "x://***@h"
    assert resolve(parse("${params.url}"), Resolver(scope, **results, reveal=True)) == "x://hunter2@h"


def test_a_tree_is_shown_as_json_with_unknown_references_as_written():
    node = resolved(
        {"a": ["${tasks.t.result}", "${params.token} ${tasks.t.result}"], "${item}": 1, True: None}
    )
    assert shown(node) == {"a": ["${tasks.t.result}", "*** ${tasks.t.result}"], "${item}": 1, True: None}
    json.dumps(shown(node))


# -- when


def test_only_similar_environment_variables_are_suggested():
    for text, help in (("${env.HOEM}", "did you mean `HOME`?"), ("${env.XYZZY}", "")):
        with pytest.raises(ReferenceProblem) as caught:
            resolve(compiled(text), Resolver(SCOPE))
        assert caught.value.help == help


@pytest.mark.parametrize(
    "value", [False, None, 0, 0.0, "", " ", [], {}, "false", "FALSE", "no", "Off", "0", " 0 "]
)
def test_these_are_false(value):
    assert not is_true(value)


@pytest.mark.parametrize("value", [True, 1, -1, 0.1, [0], {"a": 0}, "true", "x", "00", "none", "null", "n"])
def test_other_values_are_true(value):
    assert is_true(value)

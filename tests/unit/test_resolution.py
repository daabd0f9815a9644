"""References become values: their types, paths, secrets, and values that are known later."""

import json

import pytest

from mprun.jobfile.reference_syntax import compiled, parse
from mprun.jobfile.references import ReferenceProblem, Scope
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


def test_resolving_makes_a_copy():
    node = compiled({"a": ["x"]})
    copy = resolve(node, Resolver(Scope(params={}, env={})))
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


def test_only_similar_environment_variables_are_suggested():
    for text, help in (("${env.HOEM}", "did you mean `HOME`?"), ("${env.XYZZY}", "")):
        with pytest.raises(ReferenceProblem) as caught:
            resolve(compiled(text), Resolver(SCOPE))
        assert caught.value.help == help


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


@pytest.mark.parametrize(
    "value", [False, None, 0, 0.0, "", " ", [], {}, "false", "FALSE", "no", "Off", "0", " 0 "]
)
def test_these_are_false(value):
    assert not is_true(value)


@pytest.mark.parametrize("value", [True, 1, -1, 0.1, [0], {"a": 0}, "true", "x", "00", "none", "null", "n"])
def test_other_values_are_true(value):
    assert is_true(value)

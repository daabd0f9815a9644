"""Params: their declarations, the given values, the results, and the errors."""

import json
import math
import os
from functools import partial

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from support.timing import quick

from mprun.diagnostic_text import render
from mprun.errors import JobFileError, UsageError
from mprun.jobfile import matcher
from mprun.jobfile.model import Origin
from mprun.jobfile.param_inputs import ParamInput, from_options, from_with
from mprun.jobfile.param_types import declare
from mprun.jobfile.params import MAX_DIAGNOSTICS, resolve_params
from mprun.jobfile.references import Reference, Template
from mprun.jobfile.schema.job_schema import check
from mprun.jobfile.syntax.document import parse


def settled(params, options=(), environment=None, **how):
    """The values of `params: …`, given options and an environment."""
    document = parse(f"params: {params}\ntasks: [{{target: 'm:f'}}]\n", "f.yaml")
    assert check(document) == []
    declared = document.root["params"]
    given = from_options(options, environment or {}, declared)
    return resolve_params(document, declared, given, **how)


def values(params, *options, **environment):
    return settled(params, options, environment)[0]


def diagnostics(params, *options, **environment):
    with pytest.raises(JobFileError) as caught:
        settled(params, options, environment)
    return caught.value.diagnostics


def only(params, *options, **environment):
    (diagnostic,) = diagnostics(params, *options, **environment)
    return diagnostic


def marked(diagnostic):
    line = diagnostic.source.lines[diagnostic.span.line - 1]
    return line[diagnostic.span.column - 1 :][: diagnostic.span.width]


def usage(params, *options):
    with pytest.raises(UsageError) as caught:
        settled(params, options)
    assert not isinstance(caught.value, JobFileError)
    return str(caught.value)


# -- declarations


@pytest.mark.parametrize(
    ("raw", "kind", "default"),
    [
        (3, "integer", 3),
        (True, "boolean", True),
        (0.5, "number", 0.5),
        ("a", "string", "a"),
        (["a"], "list", ["a"]),
        ([], "list", []),
        (None, "string", None),
        ({}, "string", None),
        ({"default": 3}, "integer", 3),
        ({"default": None}, "string", None),
        ({"default": ["a"], "enum": ["a", "b"]}, "list", ["a"]),
        ({"default": 1, "enum": [1, 2.5]}, "number", 1),
        ({"enum": [1, 2]}, "integer", None),
        ({"enum": [1, 2.5]}, "number", None),
        ({"enum": [1, None]}, "integer", None),
        ({"enum": [1, True]}, "string", None),
        ({"type": "number", "default": 3}, "number", 3),
        ({"type": "integer"}, "integer", None),
    ],
)
def test_the_type_is_that_of_the_default_else_of_the_choices_else_string(raw, kind, default):
    param = declare("p", raw)
    assert (param.kind, param.default) == (kind, default)
    assert type(param.default) is type(default)


def test_defaults_are_the_values_if_nothing_is_given():
    found = values(
        "{n: 3, xs: [a, 1], s: {default: x}, none: , k: {type: integer}, l: {type: list, default: }}"
    )
    assert found == {"n": 3, "xs": ["a", 1], "s": "x", "none": None, "k": None, "l": None}
    assert type(found["xs"]) is list
    assert values("{}") == {}


def test_the_names_of_secrets_are_returned():
    assert settled("{a: 1, b: {secret: true}, c: {secret: false}}")[1] == {"b"}


@pytest.mark.parametrize(
    ("param", "message", "help", "mark"),
    [
        ("{type: integer, default: x}", "DEFAULT must be an integer, not the string `x`",
         "", "x"),
        ("{type: integer, default: '3'}",
         "DEFAULT must be an integer, not the string `3`",
         "remove the quotes: `3`", "'3'"),
        ("{type: integer, default: 3.0}",
         "DEFAULT must be an integer, not the number `3.0`", "", "3.0"),
        ("{type: integer, default: true}",
         "DEFAULT must be an integer, not the boolean `true`", "", "true"),
        ("{type: string, default: 010}", "DEFAULT must be a string, not the number `10`",
         'quote it: `"010"`', "010"),
        ("{type: boolean, default: no}",
         "DEFAULT must be `true` or `false`, not the string `no`",
         "write `false`, without quotes", "no"),
        ("{type: list, default: a}", "DEFAULT must be a list, not the string `a`",
         "put it in brackets: `[a]`", "a"),
        ("{type: number, default: [1]}", "DEFAULT must be a number, not a list", "", "[1]"),
        ("{default: smal, enum: [small, large]}",
         "DEFAULT must be one of `small`, `large`, not the string `smal`",
         "did you mean `small`?", "smal"),
        ("{default: [a, c], enum: [a, b]}",
         "DEFAULT must have only items from `a`, `b`, not the string `c`",
         "", "[a, c]"),
        ("{default: ab, pattern: a}", "DEFAULT must match `a`, not the string `ab`",
         "", "ab"),
        ("{type: string, enum: [a, 1]}",
         "item 2 of `enum` of param `p` must be a string, not the number `1`",
         'quote it: `"1"`', "1"),
        ("{pattern: '(a'}", "invalid regular expression in `pattern` of param `p`: "
         "missing ), unterminated subpattern at position 0", "", "'(a'"),
        ("{required: true, default: 3}", "param `p` is required, so its default would never be used",
         "remove one of them", "default"),
    ],
)  # fmt: skip
def test_a_declaration_that_contradicts_itself_is_reported_at_its_position(param, message, help, mark):
    diagnostic = only(f"{{p: {param}}}")
    message = message.replace("DEFAULT", "default of param `p`")
    assert (diagnostic.message, diagnostic.help, marked(diagnostic)) == (message, help, mark)
    # A command that only reads the file reports it, too, except for mistakes that a pattern would find.
    if "pattern: a" not in param:
        with pytest.raises(JobFileError):
            settled(f"{{p: {param}}}", lenient=True)


def test_a_value_is_not_checked_against_an_invalid_declaration():
    diagnostic = only("{p: {type: integer, enum: [a]}}", "p=3")
    assert diagnostic.message.startswith("item 1 of `enum` of param `p` ")
    assert "invalid regular expression" in only("{p: {pattern: '[', default: a}}", "p=3").message


def test_null_among_the_choices_does_not_decide_the_type():
    assert values("{p: {enum: [1, null]}}", "p=1") == {"p": 1}
    assert values("{p: {enum: [1, null], default: }}") == {"p": None}


def test_a_remedy_quotes_the_text_of_the_file_or_is_not_given():
    diagnostic = only("{a: {type: string, default: &n 3}, b: *n}")
    assert diagnostic.message == "default of param `a` must be a string, not the number `3`"
    assert diagnostic.help == ""


# -- given values


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "", ""),
        ("string", "3", "3"),
        ("string", " a=b ", " a=b "),
        ("string", "[a", "[a"),
        ("integer", "3", 3),
        ("integer", " -3 ", -3),
        ("integer", "010", 10),
        ("integer", "0o10", 8),
        ("integer", "0x1F", 31),
        ("number", "3", 3),
        ("number", "-.5e1", -5.0),
        ("boolean", "true", True),
        ("boolean", "FALSE", False),
        ("list", "", []),
        ("list", "[]", []),
        ("list", "[ ]", []),
        ("list", "a", ["a"]),
        ("list", "a,b", ["a", "b"]),
        ("list", "a, b,", ["a", "b"]),
        ("list", " [ a , b, ] ", ["a", "b"]),
        ("list", "1, 2.5, true, null, no, 12:30", [1, 2.5, True, None, "no", "12:30"]),
        ("list", "\"a,b\", '1', \"2\\n\", 'it''s', ''", ["a,b", "1", "2\n", "it's", ""]),
        ("list", "a\"b, it's", ['a"b', "it's"]),
        ("list", '"a\tb"', ["a\tb"]),
        ("list", "a[0],{b}", ["a[0]", "{b}"]),
    ],
)
def test_a_text_is_read_as_the_declared_type(kind, text, value):
    read = values(f"{{p: {{type: {kind}}}}}", f"p={text}")["p"]
    assert read == value
    assert type(read) is type(value)
    assert values(f"{{p: {{type: {kind}}}}}", MPRUN_PARAM_P=text)["p"] == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("integer", "abc", "must be an integer, but `-p` provides `abc`"),
        ("integer", "3.0", "must be an integer, but `-p` provides `3.0`"),
        ("integer", "", "must be an integer, but `-p` provides nothing"),
        ("integer", "1_000", "must be an integer, but `-p` provides `1_000`"),
        ("integer", "٣", "must be an integer, but `-p` provides `٣`"),
        ("integer", "true", "must be an integer, but `-p` provides `true`"),
        ("number", ".nan", "must be a number, but `-p` provides `.nan`"),
        ("number", "-.inf", "must be a number, but `-p` provides `-.inf`"),
        ("number", "1e999", "must be a number, but `-p` provides `1e999`"),
        ("boolean", "yes", "must be `true` or `false`, but `-p` provides `yes`"),
        ("boolean", "1", "must be `true` or `false`, but `-p` provides `1`"),
        ("list", "a,,b", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `a,,b`"),
        ("list", ",", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `,`"),
        ("list", "[a", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `[a`"),
        ("list", "[[a]]", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `[[a]]`"),
        ("list", "'a", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `'a`"),
        ("list", "'a'b", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `'a'b`"),
        ("list", '"\\x"', 'must be a list such as `a,b` or `[a, b]`, but `-p` provides `"\\x"`'),
        ("list", "[.inf]", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `[.inf]`"),
        ("list", "1e999", "must be a list such as `a,b` or `[a, b]`, but `-p` provides `1e999`"),
        ("string", "\udcff", "must be UTF-8, but `-p` provides `\\udcff`"),
    ],
)
def test_a_text_of_another_type_is_reported_with_its_param(kind, text, message):
    diagnostic = only(f"{{p: {{type: {kind}}}}}", f"p={text}")
    assert (diagnostic.message, marked(diagnostic)) == (f"param `p` {message}", "p")


def test_a_number_that_is_too_long_is_not_a_number():
    assert only("{p: 3}", "p=" + "9" * 5000).message.startswith("param `p` must be an integer, but ")


def test_an_option_goes_before_the_environment_and_that_before_the_default():
    params = "{n: 1, m: 1, k: 1}"
    assert values(params, "n=3", MPRUN_PARAM_N="2", MPRUN_PARAM_M="2") == {"n": 3, "m": 2, "k": 1}


def test_the_last_of_an_option_wins():
    assert values("{n: 1, m: 1}", "n=2", "m=5", "n=3") == {"n": 3, "m": 5}
    # The earlier file is not read at all.
    assert values("{s: a}", "s=@/nowhere", "s=b") == {"s": "b"}


def test_a_value_may_have_an_equals_sign():
    assert values("{s: a}", "s=b=c") == {"s": "b=c"}


def test_the_variable_of_a_param_is_in_capitals_with_underscores():
    params = "{start-day: a, start_day: b, ärger: c, mprun: d}"
    given = {
        "MPRUN_PARAM_START_DAY": "x",
        "MPRUN_PARAM_ÄRGER": "y",
        "start-day": "z",
        "MPRUN_PARAM_OTHER": "z",
    }
    assert values(params, **given) == {"start-day": "x", "start_day": "x", "ärger": "y", "mprun": "d"}


def test_the_source_of_a_value_is_named(tmp_path):
    assert only("{n: 3}", MPRUN_PARAM_N="x").message.endswith(", but `MPRUN_PARAM_N` provides `x`")
    file = tmp_path / "f"
    file.write_text("x")
    assert only("{n: 3}", f"n=@{file}").message.endswith(f", but `-p n=@{file}` provides `x`")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("a", "a"),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("a\r", "a\r"),
        ("\ufeffa", "a"),
        ("@b", "@b"),
    ],
)
def test_a_file_gives_its_text_without_its_last_newline(tmp_path, content, value):
    file = tmp_path / "f"
    file.write_bytes(content.encode())
    assert values("{s: x}", f"s=@{file}") == {"s": value}


def test_a_files_text_is_read_as_the_type(tmp_path):
    file = tmp_path / "f"
    file.write_text("[1, 2]\n")
    assert values("{xs: []}", f"xs=@{file}") == {"xs": [1, 2]}


def test_two_at_signs_are_one_literal_at_sign():
    assert values("{s: x, t: x}", "s=@@me", "t=a@b") == {"s": "@me", "t": "a@b"}


def test_an_undeclared_or_malformed_param_is_a_usage_error(tmp_path):
    assert usage("{day: x}", "dya=1") == "unknown param `dya`; did you mean `day`?"
    assert usage("{day: x, n: 1}", "qqq=1") == "unknown param `qqq`; known params: `day`, `n`"
    assert usage("{}", "day=1") == "unknown param `day`: the job declares none"
    assert usage("{day: x}", "day") == "missing `=` in `-p day`; write `-p day=VALUE`"
    assert usage("{day: x}", "5") == "missing `=` in `-p 5`; write `-p day=VALUE`"
    assert usage("{}", "5") == "missing `=` in `-p 5`; write `-p NAME=VALUE`"
    assert usage("{s: x}", "s=@") == "missing file name in `-p s=@`; write `-p s=@@` for a literal `@`"
    assert usage("{s: x}", f"s=@{tmp_path}") == f"file `{tmp_path}` of param `s` is a directory"
    assert usage("{s: x}", "s=@nofile") == "file `nofile` of param `s` not found"
    assert usage("{s: x}", "=x") == "missing name in `-p =x`; write `-p s=VALUE`"


@pytest.mark.parametrize(
    ("param", "text", "message", "help"),
    [
        ("{enum: [small, large]}", "smal",
         "must be one of `small`, `large`, but `-p` provides `smal`", "did you mean `small`?"),
        ("{enum: [1, 2]}", "3", "must be one of `1`, `2`, but `-p` provides `3`", ""),
        ("{type: list, enum: [a, b]}", "a,c",
         "must have only items from `a`, `b`, but `-p` provides `c`", ""),
        ("{type: list, enum: [1, a]}", "1,true",
         "must have only items from `1`, `a`, but `-p` provides `true`", ""),
        (r"{pattern: '\d{4}'}", "12345", r"must match `\d{4}`, but `-p` provides `12345`", ""),
        (r"{pattern: '\d{4}'}", "1234\n", r"must match `\d{4}`, but `-p` provides `1234\n`", ""),
        (r"{type: integer, pattern: '\d'}", "12", r"must match `\d`, but `-p` provides `12`", ""),
        ("{type: list, pattern: a+}", "aa,b", "must have only items that match `a+`, but `-p` provides `b`",
         ""),
    ],
)  # fmt: skip
def test_a_value_must_be_among_the_choices_and_match(param, text, message, help):
    diagnostic = only(f"{{p: {param}}}", f"p={text}")
    assert (diagnostic.message, diagnostic.help, marked(diagnostic)) == (
        f"param `p` {message}",
        help,
        "p",
    )


def test_a_value_that_matches_is_accepted():
    assert values("{p: {enum: [1, 2.5]}}", "p=1.0") == {"p": 1.0}
    assert values(r"{p: {pattern: '\d{4}'}}", "p=1234") == {"p": "1234"}
    assert values("{p: {enum: [a, b], default: a}}", "p=b") == {"p": "b"}
    assert values("{p: {type: list, enum: [a, 1], pattern: '.'}}", "p=1,a,1") == {"p": [1, "a", 1]}


def test_a_long_list_of_choices_is_cut():
    choices = ", ".join(f"c{number}" for number in range(30))
    assert only(f"{{p: {{enum: [{choices}]}}}}", "p=zzz").message.endswith(
        "`c8`, `c9`, …, but `-p` provides `zzz`"
    )


def test_very_many_choices_are_not_searched_for_a_suggestion():
    choices = ", ".join(f"c{number:05}" for number in range(2000))
    assert only(f"{{p: {{enum: [{choices}]}}}}", "p=c00000x").help == "did you mean `c00000`?"
    assert only(f"{{p: {{enum: [{choices}, small]}}}}", "p=smal").help == ""


def test_a_required_param_must_be_given():
    diagnostic = only("{day: {required: true}}")
    assert diagnostic.message == "missing param `day`"
    assert diagnostic.help == "set it with `-p day=VALUE` or `MPRUN_PARAM_DAY`"
    assert (diagnostic.span.line, marked(diagnostic)) == (1, "day")
    assert values("{day: {required: true}}", "day=") == {"day": ""}
    assert values("{day: {required: true, default: }}", MPRUN_PARAM_DAY="x") == {"day": "x"}


def test_all_diagnostics_are_reported_at_once():
    params = "{a: {required: true}, b: {pattern: '['}, c: 3, d: {enum: [x]}}"
    found = diagnostics(params, "c=x", MPRUN_PARAM_D="y")
    assert [marked(diagnostic) for diagnostic in found] == ["a", "'['", "c", "d"]


# -- secrets


def test_a_secret_may_come_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "f"
    file.write_text("hunter2\n")
    for options, environment in (([f"s=@{file}"], {}), ([], {"MPRUN_PARAM_S": "hunter2"})):
        assert settled("{s: {secret: true}}", options, environment) == ({"s": "hunter2"}, {"s"})


@pytest.mark.parametrize("text", ["hunter2", "@@hunter2", ""])
def test_a_secret_is_refused_on_the_command_line(text):
    diagnostic = only("{s: {secret: true}}", f"s={text}")
    reason = "every user of the machine can read the command line"
    assert diagnostic.message == f"secret param `s` is not allowed on the command line: {reason}"
    assert diagnostic.help == "set it with `-p s=@FILE` or `MPRUN_PARAM_S`"
    assert "hunter2" not in repr(diagnostic)


def test_a_secret_that_is_not_given_is_asked_for_in_a_safe_way():
    diagnostic = only("{s: {secret: true, required: true}}")
    assert diagnostic.help == "set it with `-p s=@FILE` or `MPRUN_PARAM_S`"


@pytest.mark.parametrize(
    ("param", "must"),
    [
        ("{secret: true, type: integer}", "must be an integer"),
        ("{secret: true, type: list, pattern: a}", "must have only items that match `a`"),
        ("{secret: true, enum: [hunter1]}", "must be one of `hunter1`"),
        ("{secret: true, pattern: '[a-z]+'}", "must match `[a-z]+`"),
    ],
)
@pytest.mark.parametrize("way", ["variable", "file", "with"])
def test_a_secret_is_in_no_message(tmp_path, param, must, way):
    text, declared, given = f"params: {{s: {param}}}\nt:\n  with: {{s: hunter2}}\n", {}, {}
    document = parse(text, "f.yaml")
    declared = document.root["params"]
    file = tmp_path / "f"
    file.write_text("hunter2")
    used_by = None
    if way == "with":
        used_by = Origin(document=document, path=("t",))
        given = from_with(document.root["t"]["with"])
    elif way == "file":
        given = from_options([f"s=@{file}"], {}, declared)
    else:
        given = from_options([], {"MPRUN_PARAM_S": "hunter2"}, declared)
    with pytest.raises(JobFileError) as caught:
        resolve_params(document, declared, given, used_by=used_by)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message.startswith(f"param `s` {must}, but ") or way == "with"
    assert "hunter2" not in diagnostic.message + diagnostic.help + render([diagnostic]) + str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# -- recipes


def recipe(params, with_text, lenient=False):
    """The values of a recipe's params for a task with these keys."""
    document = parse(f"params: {params}\n", "recipe.yaml")
    user = parse(f"tasks:\n  - uses: recipe.yaml\n    {with_text}\n", "user.yaml")
    task = user.root["tasks"][0]
    used_by = Origin(document=user, path=("tasks", 0))
    given = from_with(task.get("with") or {})
    return resolve_params(document, document.root["params"], given, used_by=used_by, lenient=lenient)[0]


def recipe_diagnostics(params, with_text, lenient=False):
    with pytest.raises(JobFileError) as caught:
        recipe(params, with_text, lenient)
    assert all(diagnostic.source.path == "user.yaml" for diagnostic in caught.value.diagnostics)
    return caught.value.diagnostics


def test_with_gives_values_with_their_types():
    params = "{n: 3, x: 1.5, s: a, xs: [], b: true}"
    given = "with: {n: 4, x: 2, s: '5', xs: [{k: 1}], b: false}"
    assert recipe(params, given) == {"n": 4, "x": 2, "s": "5", "xs": [{"k": 1}], "b": False}


def test_null_from_with_is_null_except_for_a_required_param():
    assert recipe("{n: 3}", "with: {n: }") == {"n": None}
    (diagnostic,) = recipe_diagnostics("{n: {required: true}}", "with: {n: null}")
    assert (diagnostic.message, marked(diagnostic)) == (
        "param `n` must not be null, but `with` provides null",
        "null",
    )


@pytest.mark.parametrize(
    ("param", "value", "message", "help"),
    [
        ("a", "010", "must be a string, but `with` provides the number `10`", 'quote it: `"010"`'),
        ("a", "true", "must be a string, but `with` provides the boolean `true`", 'quote it: `"true"`'),
        ("a", "{}", "must be a string, but `with` provides a mapping", ""),
        ("3", "'3'", "must be an integer, but `with` provides the string `3`",
         "remove the quotes: `3`"),
        ("3", "true", "must be an integer, but `with` provides the boolean `true`", ""),
        ("1.5", ".nan", "must be a number, but `with` provides the number `NaN`", ""),
        ("true", "1", "must be `true` or `false`, but `with` provides the number `1`", ""),
        ("[]", "a", "must be a list, but `with` provides the string `a`", "put it in brackets: `[a]`"),
        ("{enum: [day, week]}", "dya", "must be one of `day`, `week`, but `with` provides the string `dya`",
         "did you mean `day`?"),
        ("{type: list, pattern: a}", "[a, bb]",
         "must have only items that match `a`, but `with` provides the string `bb`", ""),
    ],
)  # fmt: skip
def test_a_value_of_with_is_not_converted_and_its_error_has_its_span(param, value, message, help):
    (diagnostic,) = recipe_diagnostics(f"{{p: {param}}}", f"with: {{p: {value}}}")
    assert (diagnostic.message, diagnostic.help, marked(diagnostic)) == (
        f"param `p` {message}",
        help,
        value,
    )


def test_a_param_missing_from_with_is_reported_at_the_task():
    (diagnostic,) = recipe_diagnostics("{day: {required: true}}", "with: {}")
    assert (diagnostic.message, diagnostic.help) == (
        "missing param `day` of recipe `recipe.yaml`",
        "add `day:` to `with`",
    )
    assert marked(diagnostic) == "with"
    (diagnostic,) = recipe_diagnostics("{day: {required: true}}", "name: a", lenient=True)
    assert diagnostic.span.line == 2


def test_a_param_that_the_recipe_lacks_is_reported_at_its_key():
    (diagnostic,) = recipe_diagnostics("{day: a}", "with: {dya: b}")
    assert (diagnostic.message, diagnostic.help, marked(diagnostic)) == (
        "unknown param `dya` of recipe `recipe.yaml`",
        "did you mean `day`?",
        "dya",
    )


def test_an_undeclared_param_from_the_command_line_is_an_error():
    document = parse("params: {day: a}", "f.yaml")
    with pytest.raises(UsageError, match=r"unknown param `dya`; did you mean `day`\?"):
        resolve_params(document, document.root["params"], {"dya": ParamInput(value="a", where="`-p`")})


def test_references_to_results_are_passed_on():
    later = Reference(text="tasks.a.result", root="tasks", name="a")
    text = Template(parts=("x", later))
    document = parse(
        "params: {a: 3, b: {enum: [x]}, c: {type: list, pattern: y}, d: {required: true}}", "f.yaml"
    )
    given = {"a": later, "b": text, "c": ["y", later], "d": later}
    assert resolve_params(document, document.root["params"], from_with(given))[0] == given


# -- lenient readers


def test_a_lenient_reader_gets_a_reference_for_a_missing_param():
    found, secrets = settled("{day: {required: true}, n: 3, s: {secret: true, required: true}}", lenient=True)
    assert found == {
        "day": Reference(text="params.day", root="params", name="day"),
        "n": 3,
        "s": Reference(text="params.s", root="params", name="s"),
    }
    assert secrets == {"s"}


def test_a_lenient_reader_still_finds_errors():
    with pytest.raises(JobFileError):
        settled("{n: {type: integer, default: x}}", lenient=True)
    with pytest.raises(JobFileError):
        settled("{n: {pattern: '['}}", lenient=True)


@pytest.fixture
def hostile_value(monkeypatch):
    """A value with which the pattern of HOSTILE takes hours."""
    # With the real limit, each of these tests costs two seconds.
    monkeypatch.setattr(matcher, "LIMIT_SECONDS", 0.25)
    yield "a" * 40 + "!"
    matcher.end_load()


HOSTILE = "{{n: {{pattern: '(a+)+', {}}}}}"
WHY = "all patterns of the file take longer than 0.25s of CPU time"
TOO_LONG = f"the `pattern` of param `n` cannot be matched: {WHY}"


@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize("way", ["default", "option", "recipe"])
def test_a_pattern_that_may_take_forever_is_an_error_at_its_place(hostile_value, lenient, way):
    """C53."""
    required, default = HOSTILE.format("required: true"), HOSTILE.format(f"default: {hostile_value}")
    ways = {
        "default": partial(settled, default, lenient=lenient),
        "option": partial(settled, required, [f"n={hostile_value}"], lenient=lenient),
        "recipe": partial(recipe, required, f"with: {{n: {hostile_value}}}", lenient),
    }
    with pytest.raises(JobFileError) as caught:
        ways[way]()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == TOO_LONG
    assert marked(diagnostic) == "'(a+)+'"


def test_many_patterns_that_take_forever_take_no_longer_than_one(hostile_value):
    params = ", ".join(f"p{number}: {{pattern: '(a+)+', default: {hostile_value}}}" for number in range(30))
    begun = os.times().children_user
    assert len(diagnostics(f"{{{params}}}")) == 30
    matcher.end_load()
    assert os.times().children_user - begun < 3


def test_a_pattern_with_repeated_groups_is_matched_as_well(hostile_value):
    assert values(r"{n: {pattern: 'v\d+(\.\d+)*', default: v1.2.3}}") == {"n": "v1.2.3"}
    assert "must match" in only(r"{n: {pattern: 'v\d+(\.\d+)*', default: v1..3}}").message


# -- large inputs


def large(count, param):
    lines = "".join(f"  p{number}: {param}\n" for number in range(count))
    return parse(f"params:\n{lines}", "f.yaml")


def test_many_params_are_resolved_quickly():
    document = large(50_000, "{type: integer, default: x}")
    with quick(5):
        with pytest.raises(JobFileError) as caught:
            resolve_params(document, document.root["params"], {})
        assert len(caught.value.diagnostics) == MAX_DIAGNOSTICS


def test_many_unknown_names_are_refused_quickly():
    document = large(50_000, "1")
    user = parse("with: {" + ", ".join(f"q{number}: 1" for number in range(20_000)) + "}", "user.yaml")
    used_by = Origin(document=user, path=())
    with quick(5):
        with pytest.raises(JobFileError) as caught:
            resolve_params(document, document.root["params"], from_with(user.root["with"]), used_by=used_by)
        assert len(caught.value.diagnostics) == MAX_DIAGNOSTICS
        with pytest.raises(UsageError):
            from_options(["q=1"], {}, document.root["params"])


@pytest.mark.parametrize(
    "text", ["a," * 100_000, "'" * 100_000, " " * 100_000 + ",", '"\\' * 50_000, "[" * 100_000]
)
def test_a_long_list_is_read_quickly(text):
    with quick(5):
        try:
            values("{xs: []}", f"xs={text}")
        except JobFileError as error:
            assert len(error.diagnostics[0].message) < 500  # noqa: PT017 - either may be


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()


@hypothesis_given(st.lists(SCALARS))
def test_a_list_that_is_written_as_json_is_read_back(items):
    read = values("{xs: []}", f"xs={json.dumps(items)}")["xs"]
    assert read == items
    assert [type(item) for item in read] == [type(item) for item in items]


@hypothesis_given(st.text(), st.sampled_from(["string", "integer", "number", "boolean", "list"]))
def test_any_text_is_a_value_of_the_type_or_a_diagnostic(text, kind):
    try:
        value = values(f"{{p: {{type: {kind}}}}}", f"p={'@' if text.startswith('@') else ''}{text}")["p"]
    except JobFileError:
        return
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "list": list}
    assert isinstance(value, types[kind])
    assert kind != "number" or math.isfinite(value)
    assert kind == "boolean" or not isinstance(value, bool)

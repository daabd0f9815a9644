"""YAML text becomes a tree with spans; which text is refused, where, and how fast."""

import math
import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.runs import ROOT
from support.timing import cpu_seconds, growth, quick

from mprun.diagnostic_text import render
from mprun.diagnostics import Span
from mprun.errors import JobFileError, UsageError
from mprun.jobfile.syntax import composer, document
from mprun.jobfile.syntax.document import load, parse, plain, span_of


def value(text):
    return parse(f"k: {text}\n", "f.yaml").root["k"]


def refused(text):
    with pytest.raises(JobFileError) as caught:
        parse(text, "f.yaml")
    return caught.value.diagnostics


def only(text):
    (diagnostic,) = refused(text)
    return diagnostic


def at(diagnostic):
    return diagnostic.span.line, diagnostic.span.column


# -- values


@pytest.mark.parametrize(
    "text", ["no", "on", "yes", "off", "NO", "y", "12:30:45", "1_000", "0b1", "0o8", "1e", "2026-01-01"]
)
def test_yaml_1_1_booleans_dates_and_octals_are_strings(text):
    assert value(text) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("1234567890123", 1234567890123),
        ("3.10", 3.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5E-3", -0.0015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("TRUE", True),
    ],
)
def test_numbers_and_booleans_are_those_of_the_core_schema(text, meant):
    assert value(text) == meant
    assert type(value(text)) is type(meant)


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null_has_five_spellings(text):
    assert value(text) is None


def test_nan_is_a_float():
    assert math.isnan(value(".nan"))


@pytest.mark.parametrize("text", ["010", "true", "null", "", "1.5", "<<", "~"])
def test_a_quoted_scalar_is_a_string(text):
    assert value(f'"{text}"') == text
    assert value(f"'{text}'") == text


def test_digits_of_other_scripts_are_not_numbers():
    assert value("٣") == "٣"
    assert value("1٣") == "1٣"


def test_block_text_keeps_its_lines():
    assert parse("a: |\n  x\n  y\n", "f").root == {"a": "x\ny\n"}


def test_the_tree_is_the_one_that_pyyaml_builds_of_plain_strings():
    text = "tasks:\n  - name: a\n    args: [x, {y: z}]\n    kwargs: {}\n  - name: b\n"
    assert parse(text, "f").root == yaml.safe_load(text)


def test_plain_copies_into_dict_and_list():
    copy = plain(parse("a: [1, {b: c}]", "f").root)
    assert (type(copy), type(copy["a"]), type(copy["a"][1])) == (dict, list, dict)
    assert copy == {"a": [1, {"b": "c"}]}


def test_an_alias_has_the_value_of_its_anchor():
    root = parse("a: &x {b: 1}\nc: *x\n", "f").root
    assert root["c"] == {"b": 1}


def test_an_anchor_may_be_used_again_for_another_value():
    assert parse("a: &x 1\nb: &x 2\nc: *x\n", "f").root["c"] == 2


def test_keys_may_be_other_than_strings():
    assert parse("a: {1: x, false: y, null: z, 1.5: u}", "f").root["a"] == {
        1: "x",
        False: "y",
        None: "z",
        1.5: "u",
    }


def test_a_byte_order_mark_is_accepted():
    document = parse(b"\xef\xbb\xbfa: 1\n", "f")
    assert document.root == {"a": 1}
    assert span_of(document, ("a",), key=True) == Span(line=1, column=1, width=1)


def test_the_hash_is_that_of_the_bytes():
    import hashlib

    data = b"\xef\xbb\xbfa: 1\r\n"
    assert parse(data, "f").sha256 == hashlib.sha256(data).hexdigest()


# -- spans

TEXT = """\
name: demo
tasks:
  - name: one  # first
    args: [10, "two", {k: v}]
    env:
  - &t
    name: "z z"
    kwargs: {a: 1}
join: [*n1, x]
""".replace("*n1", "y")


@pytest.mark.parametrize(
    ("path", "key", "span"),
    [
        (("name",), False, (1, 7, 4)),
        (("name",), True, (1, 1, 4)),
        (("tasks", 0, "name"), False, (3, 11, 3)),
        (("tasks", 0, "name"), True, (3, 5, 4)),
        (("tasks", 0), False, (3, 5, 1)),
        (("tasks", 0, "args"), False, (4, 11, 19)),
        (("tasks", 0, "args", 0), False, (4, 12, 2)),
        (("tasks", 0, "args", 1), False, (4, 16, 5)),
        (("tasks", 0, "args", 2, "k"), False, (4, 27, 1)),
        (("tasks", 0, "env"), True, (5, 5, 3)),
        (("tasks", 1, "name"), False, (7, 11, 5)),
        (("join", 1), False, (9, 11, 1)),
        ((), False, (1, 1, 1)),
    ],
)
def test_every_node_has_its_span(path, key, span):
    found = span_of(parse(TEXT, "f"), path, key)
    assert (found.line, found.column, found.width) == span


def test_a_path_that_leads_nowhere_gives_the_nearest_ancestor():
    document = parse(TEXT, "f")
    assert span_of(document, ("tasks", 0, "nothing", "below")) == span_of(document, ("tasks", 0))
    assert span_of(document, ("tasks", 99)) == span_of(document, ("tasks",))
    assert span_of(document, ("name", "x")) == span_of(document, ("name",))


def test_the_span_of_an_alias_is_its_own_and_not_the_anchors():
    document = parse("a: &x {b: 1}\nc: [1, *x]\n", "f")
    assert span_of(document, ("c", 1)) == Span(line=2, column=8, width=2)


def test_a_value_of_several_lines_is_marked_to_the_end_of_its_first():
    document = parse('a: "one\n  two"\nb: 1\n', "f")
    assert span_of(document, ("a",)) == Span(line=1, column=4, width=4)


def test_spans_are_right_for_any_line_ending_and_wide_characters():
    document = parse('é: "名\u2028前"\r\nb: 1\rc: [x, y]\n', "f")
    assert span_of(document, ("b",)) == Span(line=2, column=4, width=1)
    assert span_of(document, ("c", 1)) == Span(line=3, column=8, width=1)


TREES = st.recursive(
    st.one_of(st.integers(0, 999), st.text("abc é名", min_size=1).map(str.strip).filter(bool)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text("kxyz", min_size=1, max_size=3), inner, max_size=4),
    ),
    max_leaves=20,
)


def paths(node, path=()):
    yield path, node
    if isinstance(node, dict):
        for key, child in node.items():
            yield from paths(child, (*path, key))
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from paths(child, (*path, number))


@given(tree=TREES, flow=st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_span_of_a_scalar_covers_its_text(tree, flow):
    text = yaml.safe_dump({"r": tree}, default_flow_style=flow, allow_unicode=True, width=10_000)
    document = parse(text, "f")
    assert plain(document.root) == {"r": tree}
    for path, node in paths(document.root):
        span = span_of(document, path)
        line = document.source.lines[span.line - 1]
        if not isinstance(node, (dict, list)):
            found = line[span.column - 1 : span.column - 1 + span.width]
            assert yaml.safe_load(found) == node


# -- invalid text


def test_a_duplicate_key_names_the_first_line():
    diagnostic = only("a: 1\nb: 2\na: 3\n")
    assert diagnostic.message == "duplicate key `a`: first used on line 1"
    assert at(diagnostic) == (3, 1)


def test_after_a_duplicate_key_the_lines_of_others_are_still_right():
    assert [p.message[-6:] for p in refused("a: 1\na: 2\na: 3\nb: 1\nb: 2\n")] == [
        "line 1",
        "line 1",
        "line 4",
    ]


def test_duplicate_keys_are_found_at_any_depth():
    assert at(only("t:\n  - {a: 1, b: [{c: 1, c: 2}]}\n")) == (2, 23)


def test_keys_that_python_holds_equal_are_refused():
    first, second = refused("1: a\n1.0: b\ntrue: c\n")
    assert first.message == "keys `1` (line 1) and `1.0` are equal in Python"
    assert second.message == "keys `1` (line 1) and `true` are equal in Python"
    assert first.help == 'quote one of them: `"1.0"`'


def test_the_same_key_spelt_differently_is_a_duplicate():
    assert "duplicate key `0x1`" in only("1: a\n0x1: b\n").message
    assert "duplicate key `.NaN`" in only(".nan: a\n.NaN: b\n").message


@pytest.mark.parametrize("tag", ["!!str", "!!python/object/apply:os.system", "!x", "!", "!<tag:x>"])
def test_tags_are_refused(tag):
    diagnostic = only(f"a: {tag} 1\n")
    assert diagnostic.message.startswith("tags are not supported: `")
    assert at(diagnostic) == (1, 4)


def test_tags_on_lists_and_mappings_are_refused():
    assert len(refused("a: !!set {x, y}\nb: !!seq [1]\n")) == 2


def test_merge_keys_are_refused():
    diagnostic = only("a: &x {b: 1}\nc:\n  <<: *x\n")
    assert diagnostic.message == "merge keys (`<<`) are not supported"
    assert at(diagnostic) == (3, 3)


def test_a_quoted_merge_key_is_an_ordinary_key():
    assert parse('"<<": 1', "f").root == {"<<": 1}


def test_a_second_document_is_refused():
    assert at(only("a: 1\n---\nb: 2\n")) == (2, 1)


def test_one_document_may_be_marked_as_such():
    assert parse("%YAML 1.2\n---\na: 1\n...\n", "f").root == {"a": 1}


def test_a_file_that_asks_for_yaml_1_1_is_refused():
    assert only("%YAML 1.1\n---\na: no\n").message == "job files use YAML 1.2"


@pytest.mark.parametrize("text", ["", "\n\n", "# only this\n", "---\n", "~", "null\n"])
def test_an_empty_document_is_refused(text):
    assert only(text).message == "the job file is empty"


@pytest.mark.parametrize("text", ["{[a]: b}", "? {a: b}\n: c", "a: {{ x }}", "&x [1]: 2"])
def test_keys_that_are_collections_are_refused(text):
    assert "a key must be a string, not a list or a mapping" in [p.message for p in refused(text)]


def test_an_unknown_alias_is_refused():
    diagnostic = only("a: *deploy\n")
    assert diagnostic.message == "unknown alias `*deploy`"
    assert diagnostic.help == 'quote it if it is a string: `"*deploy"`'


def test_an_alias_inside_its_own_anchor_is_refused():
    assert "refers to a node that contains it" in only("a: &x [1, *x]\n").message


@pytest.mark.parametrize("char", ["\0", "\x1b", "\x7f", "\x80", "\ufeff", "\ufffe"])
def test_characters_that_yaml_forbids_are_refused_at_their_position(char):
    diagnostic = only(f"a: 1\nb: x{char}y\n")
    assert at(diagnostic) == (2, 5)
    assert f"U+{ord(char):04X}" in diagnostic.message


def test_bytes_that_are_not_utf_8_are_refused_at_their_position():
    diagnostic = only(b"a: 1\nb: \xff\n")
    assert diagnostic.message == "invalid UTF-8: byte 0xff"
    assert at(diagnostic) == (2, 4)


@pytest.mark.parametrize("data", ["a: 1".encode("utf-16"), "a: 1".encode("utf-32")])
def test_other_encodings_are_refused(data):
    assert refused(data)


def test_a_lone_surrogate_is_refused():
    assert refused("a: \ud800")


@pytest.mark.parametrize("number", ["9" * 4301, "0x" + "f" * 4300, "0o" + "7" * 9000, "-" + "1" * 100_000])
def test_numbers_of_too_many_digits_are_refused(number):
    diagnostic = only(f"a: {number}\n")
    assert diagnostic.message == "number with more than 4300 digits"
    assert at(diagnostic) == (1, 4)


@pytest.mark.parametrize("number", ["9" * 641, "-" + "1" * 700, "+" + "0" * 650])
def test_a_number_of_more_digits_than_this_python_converts_is_refused(number):
    """C84. PYTHONINTMAXSTRDIGITS sets the limit."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        diagnostic = only(f"a: {number}\n")
    finally:
        sys.set_int_max_str_digits(limit)
    assert diagnostic.message == "number with more digits than Python converts"
    assert at(diagnostic) == (1, 4)


def test_a_number_of_4300_digits_is_read_and_can_be_shown():
    assert len(str(value("9" * 4300))) == 4300
    str(value("0x" + "f" * 3571))


def test_a_float_that_would_become_infinite_is_refused():
    assert only("a: 1e999\n").message == "number out of range for a float"


def test_every_diagnostic_of_one_pass_is_named():
    messages = [p.message for p in refused("a: 1\na: 2\nb: !x 1\nc: {<<: {}}\nd: *e\nf: @\n")]
    assert len(messages) == 5
    assert messages[-1] == "a value cannot start with `@`"


def test_at_most_a_hundred_diagnostics_are_named():
    assert len(refused("a: 1\n" * 5000)) == 100


@pytest.mark.parametrize(
    ("text", "span", "message", "help"),
    [
        ("a:\n\tb: 1\n", (2, 1), "tabs are not allowed for indentation", "use spaces"),
        ("a: @x\n", (1, 4), "a value cannot start with `@`", "quote"),
        ("a: `x`\n", (1, 4), "a value cannot start with a backtick", "quote"),
        ("a: %x\n", (1, 4), "a value cannot start with `%`", "quote"),
        ("a: b: c\n", (1, 5), "unexpected `:`", "quote"),
        ('a: 1\nb: "foo\nc: 1\n', (2, 4), "unclosed quote", "close"),
        ("a: 'foo\nb: 1\n", (1, 4), "unclosed quote", "close"),
        ("a: {b\nc: 1\n", (1, 4), "unclosed `{`", "`}`"),
        ("a: [b\nc: 1\n", (1, 4), "unclosed `[`", "`]`"),
        ("a: [${params.x}]\n", (1, 6), "expected `,` or `]`", "quote references"),
        ("a: *\n", (1, 4), "alias (`*`) without a name", '`"*"`'),
        ("- a: 1\n b: 2\n", (2, 2), "expected a list item (`- `)", "`- `"),
        ("a: 1\n  b: 2\n", (2, 4), "unexpected `:`", "indentation"),
        ("a: 1\nb\nc: 2\n", (2, 1), "key without a `:`", "key: value"),
        ('a: "\\d"\n', (1, 5), "unknown escape sequence (`\\`)", "single quotes"),
    ],
)
def test_broken_syntax_is_explained(text, span, message, help):
    diagnostic = only(text)
    assert (diagnostic.message, at(diagnostic)) == (message, span)
    assert help in diagnostic.help


def test_references_need_no_quotes_in_lines():
    assert value("${params.t}") == "${params.t}"


# -- limits


def nested(depth):
    return "a: " + "[" * depth + "]" * depth


def test_64_levels_are_read_and_65_are_refused():
    parse(nested(63), "f")
    assert "more than 64 deep" in only(nested(64)).message


def test_aliases_cannot_hide_depth():
    text = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 30 + "*a" + "]" * 30
    assert "more than 64 deep" in only(text).message


@pytest.mark.parametrize("levels", [64, 65, 999, 1_000, 1_001, 100_000])
@pytest.mark.parametrize(("text", "column"), [("[", 67), ("{a: ", 256)])
def test_the_level_that_is_too_deep_is_marked_whatever_the_parser_allows(text, column, levels):
    """libyaml has a limit of 1,000 levels from 0.2.6 on, and reads ahead of its events."""
    diagnostic = only("a: " + text * levels)
    assert "more than 64 deep" in diagnostic.message
    assert at(diagnostic) == (1, column)


def test_an_alias_as_deep_as_allowed_is_read():
    parse("a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 23 + "*a" + "]" * 23, "f")


def test_a_million_nodes_are_counted_with_their_aliases(monkeypatch):
    monkeypatch.setattr(composer, "MAX_NODES", 20)
    parse("a: &a [1, 2, 3, 4]\nb: [*a, *a]\n", "f")  # 1 + a 1 + 5 + b 1 + 1 + 5 + 5 = 19
    assert "more than 20 nodes" in only("a: &a [1, 2, 3, 4]\nb: [*a, *a, x, y]\n").message


def test_long_strings_cannot_be_multiplied_by_aliases():
    text = "a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 9 + "]\n"
    assert "more than 8 MiB" in only(text).message


def test_strings_inside_an_aliased_list_count_too():
    text = "a: &a [" + "x" * 1_000_000 + "]\nb: &b [*a, *a, *a]\nc: [*b, *b]\n"
    assert "more than 8 MiB" in only(text).message


def test_integer_keys_cannot_be_chosen_to_collide():
    with quick(5):
        text = "\n".join(f"{number * (2**61 - 1)}: 1" for number in range(1, 50_000))
        assert "more than 18 digits" in refused(text)[0].message


# ru_maxrss would be that of this process, which a fork inherits and an exec keeps.
CONTAINED = """
import sys
from support.timing import quick
from mprun.diagnostic_text import render
from mprun.jobfile.syntax import document as loader
from mprun.errors import UsageError
text = eval(sys.argv[1])
loader.parse("a: 1", "f")
with quick(0.9):
    try:
        loader.parse(text, "bomb.yaml")
        print("accepted")
    except UsageError as error:
        shown = render(error.diagnostics) if hasattr(error, "diagnostics") else str(error)
peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(peak, len(shown))
"""

LAUGHS = (
    "'a0: &a0 [x,x,x,x,x,x,x,x,x]\\n' + "
    "'\\n'.join(f'a{i}: &a{i} [' + ','.join([f'*a{i-1}'] * 9) + ']' for i in range(1, 30))"
)
MERGES = (
    "'a0: &a0 {x: 1}\\n' + "
    "'\\n'.join(f'a{i}: &a{i} {{<<: [' + ','.join([f'*a{i-1}'] * 9) + ']}' for i in range(1, 10))"
)
CHAIN = (
    "'a0: &a0 ' + '[' * 50 + ']' * 50 + '\\n' + "
    "'\\n'.join(f'a{i}: &a{i} ' + '[' * 50 + f'*a{i-1}' + ']' * 50 for i in range(1, 5000))"
)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak is read from /proc")
@pytest.mark.parametrize(
    "bomb",
    [
        "'[' * 1_000_000",
        "'- ' * 100_000",
        "'{a: ' * 30_000",
        "'? ' * 100_000",
        "'a: &a ' + '[' * 30_000",
        "'\\n'.join(' ' * n + 'a:' for n in range(1400))",
        "'\\n'.join(' ' * n + '-' for n in range(1400))",
        "'[' * 63 + '{a: ' * 100_000",
        LAUGHS,
        MERGES,
        CHAIN,
        "'a: 1\\n' * 200_000",
        "'a: \"' + 'x\\n' * 500_000",
        "'!!x ' * 100_000",
        "'&a ' * 100_000",
        "'*a ' * 100_000",
        "'%' * 1_000_000",
        "'\\x00' * 1_000_000",
        "b'\\xff' * 1_000_000",
        "'9' * 1_000_000",
        "'a: &a ' + 'x' * 500_000 + '\\nb: [' + '*a,' * 100_000",
        "' ' * (9 * 1024 * 1024)",
    ],
)
def test_a_bomb_is_refused_in_well_under_a_second_and_128_mb(bomb):
    command = [sys.executable, "-c", CONTAINED, bomb]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environ)
    assert done.stderr == ""
    assert done.returncode == 0
    kilobytes, length = done.stdout.split()
    assert int(kilobytes) < 128 * 1024
    assert int(length) < 40_000


def test_reading_is_linear_in_the_number_of_tasks():
    def seconds(tasks):
        text = "tasks:\n" + "".join(f"- {{name: t{n}, target: a:b, args: [{n}]}}\n" for n in range(tasks))
        return cpu_seconds(lambda: parse(text, "f"))

    assert growth(lambda: seconds(2000), lambda: seconds(8000)) < 4 * 2.5


ALPHABET = "ab1 \n\t:-[]{},&*!|>'\"%@`#?<~.é\r\0\x85"


@given(text=st.text(ALPHABET, max_size=60))
@example("? [a]\n: *a")
@example("[&a [*a], {? : }]")
@settings(max_examples=400, deadline=None)
def test_no_text_gives_a_traceback(text):
    try:
        document = parse(text, "f")
    except JobFileError as error:
        assert render(error.diagnostics)  # noqa: PT017 - whether it is raised is up to the text
    else:
        for path, _ in paths(document.root):
            assert span_of(document, path).line <= len(document.source.lines)


@given(data=st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_no_bytes_give_a_traceback(data):
    try:
        parse(data, "f")
    except JobFileError as error:
        render(error.diagnostics)


def test_the_parser_without_libyaml_reads_the_same(monkeypatch):
    fast = parse(TEXT, "f")
    monkeypatch.delattr(yaml, "CSafeLoader")
    slow = parse(TEXT, "f")
    assert fast.root == slow.root
    for path, _ in paths(fast.root):
        assert span_of(fast, path) == span_of(slow, path)
    assert at(only("a: 1\nb: 2\na: 3\n")) == (3, 1)
    assert only("a: [1\n").span.line >= 1


# -- files


def test_a_file_is_loaded(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("a: 1\n")
    document = load(str(file))
    assert (document.root, document.source.path) == ({"a": 1}, str(file))


def test_a_missing_file_suggests_a_similar_one(tmp_path):
    (tmp_path / "demo.yaml").write_text("a: 1")
    for name in ("dmeo.yaml", "demo.yml", "demo"):
        with pytest.raises(UsageError, match=r"did you mean `.*demo\.yaml`\?") as caught:
            load(str(tmp_path / name))
        assert "not found" in str(caught.value)


def test_a_missing_file_in_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="not found"):
        load(str(tmp_path / "no" / "demo.yaml"))


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is a directory"):
        load(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("a: 1")
    file.chmod(0)
    with pytest.raises(UsageError, match="may not be read"):
        load(str(file))


@pytest.mark.parametrize("path", ["a\0b", "x" * 300, "a/" * 5000])
def test_impossible_paths_are_refused_with_a_message(path):
    with pytest.raises(UsageError):
        load(path)


def test_a_file_of_more_than_8_mib_is_refused(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_bytes(b"#" * (document.MAX_BYTES + 1))
    with pytest.raises(UsageError, match="8 MiB"):
        load(str(file))


def test_an_endless_file_is_refused():
    with pytest.raises(UsageError, match="is a device, not a regular file"):
        load("/dev/zero")


def test_importing_the_loader_imports_neither_yaml_nor_anything_heavy():
    heavy = (
        "yaml jsonschema dataclasses inspect pathlib difflib hashlib unicodedata click importlib.resources"
    )
    code = (
        "import sys, mprun.jobfile.syntax.document, mprun.jobfile.schema.job_schema; "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_tree_that_was_forgotten_is_read_again():
    text = "tasks:\n  - &a {target: m:f, args: [1, é]}\n  - *a\n"
    document, again = parse(text, "job.yaml"), parse(text, "job.yaml")
    again.tree.forget()
    paths = [("tasks",), ("tasks", 0, "args", 1), ("tasks", 1), ()]
    assert [span_of(again, path) for path in paths] == [span_of(document, path) for path in paths]
    assert again.root == document.root
    assert again.root is again.root


def test_a_tree_that_the_text_does_not_have_is_not_forgotten():
    document = parse("tasks: []", "job.yaml").with_root({"tasks": ["another"]})
    document.tree.forget()
    assert document.root == {"tasks": ["another"]}

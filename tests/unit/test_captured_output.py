"""What a command has printed becomes its result (C47)."""

from __future__ import annotations

import json

import pytest
from support.records import state_file

from mprun.engine.captured_output import take
from mprun.record import results


def taken(tmp_path, data, how):
    """The result that is made of these bytes, or why there is none."""
    path = str(tmp_path / "a.1")
    (tmp_path / "a.1.stdout").write_bytes(data)
    why = take(state_file(path), how)
    if why:
        assert results.read_value(state_file(path)) == (None, "none")
        return why
    assert not (tmp_path / "a.1.stdout").exists()
    value, kind = results.read_value(state_file(path))
    assert kind == "json"
    return value


@pytest.mark.parametrize(
    ("data", "text", "lines"),
    [
        (b"", "", []),
        (b"\n", "", [""]),
        (b"a", "a", ["a"]),
        (b"a\n", "a", ["a"]),
        (b"a\n\n", "a\n", ["a", ""]),
        (b" a \nb\n", " a \nb", [" a ", "b"]),
        (b"a\r\nb\r\n", "a\r\nb", ["a", "b"]),
        (b"a\x0bb\xe2\x80\xa8c\n", "a\x0bb\u2028c", ["a\x0bb\u2028c"]),
        ("ä€😀\n".encode(), "ä€😀", ["ä€😀"]),
        (b"\xff\n", "\\xff", ["\\xff"]),
        (b"\0\x1b[1m\n", "\0\x1b[1m", ["\0\x1b[1m"]),
    ],
)
def test_c47_text_and_lines_have_no_newline_at_their_end(tmp_path, data, text, lines):
    assert taken(tmp_path, data, "text") == text
    assert taken(tmp_path, data, "lines") == lines


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2**63, 1e20, -0.5, "a", [], {}, [1, {"a": [None]}], "ä\u2028\ud83d\ude00"],
    ids=str,
)
def test_c47_json_keeps_types(tmp_path, value):
    found = taken(tmp_path, json.dumps(value).encode() + b"\n", "json")
    assert (found, type(found)) == (json.loads(json.dumps(value)), type(value))


def test_c47_json_may_be_over_several_lines_with_a_byte_order_mark(tmp_path):
    assert taken(tmp_path, b'\xef\xbb\xbf{\n "a": [1,\n 2]}\n\n', "json") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"no", "Expecting value (line 1, column 1)"),
        (b'{"a": 1}\n{"a": 2}\n', "Extra data (line 2, column 1)"),
        (b"{'a': 1}", "Expecting property name enclosed in double quotes (line 1, column 2)"),
        (b"[NaN]", "NaN is not a number in JSON"),
        (b"-Infinity", "-Infinity is not a number in JSON"),
        (b'"\xff"', "byte 2 is not UTF-8"),
        (b"[" * 200_000, "it is nested too deeply"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_c47_what_is_not_json_is_named(tmp_path, data, why):
    assert taken(tmp_path, data, "json") == f"its output is not JSON: {why}"


def test_c47_output_beyond_the_limit_is_not_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr("mprun.engine.captured_output.MAX_CAPTURED_BYTES", 1000)
    assert taken(tmp_path, b"x" * 1000, "text") == "x" * 1000
    (tmp_path / "a.1.json").unlink()
    assert (
        taken(tmp_path, b"x" * 1001, "text") == "its output is longer than 1kB, which `capture` does not keep"
    )


def test_c47_a_command_that_never_ran_has_no_output(tmp_path):
    assert take(state_file(tmp_path / "b.1"), "text") == ""
    assert take(state_file(tmp_path / "c.1"), "json") == "its output is not JSON: it is empty"


def test_c47_result_that_cannot_be_written_is_a_reason(tmp_path):
    (tmp_path / "a.1.json.part").mkdir()
    assert (
        taken(tmp_path, b"x", "text")
        == "cannot write its result: `a.1.json.part` is a directory, not a regular file"
    )

"""The one door to stdout and stderr: what passes it, in text and in JSON."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun import diagnostics
from mprun.reporters import door
from mprun.reporters.door import Door, json_text, with_colours


def passed(*texts, is_json=False, colour=False, monkeypatch=None):
    """What a reader gets of these texts."""
    if monkeypatch is not None:
        monkeypatch.setenv("FORCE_COLOR" if colour else "NO_COLOR", "1")
    stream = io.BytesIO()
    opened = Door(stream, "utf-8", "backslashreplace")
    opened.is_json = is_json
    for text in texts:
        assert opened.write(text) == len(text)
    opened.flush()
    return stream.getvalue().decode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a é 名 \U0001f469\u200d\U0001f4bb\n", "a é 名 \U0001f469\u200d\U0001f4bb\n"),
        ("a\rb\x07\x9b1m\x7f\n", "a\\rb\\x07\\x9b1m\\x7f\n"),
        ("\x1b]0;title\x07\n", "\\x1b]0;title\\x07\n"),
        ("\x1b[31mred\x1b[0m\x1b[2J\n", "\x1b[31mred\x1b[0m\\x1b[2J\n"),
        ("\u061c\u200b\u2028\u2062\u00ad\U000e0041\u3164", r"\u061c\u200b\u2028\u2062\xad\U000e0041\u3164"),
    ],
)
def test_nothing_but_colours_acts_on_a_terminal(text, shown, monkeypatch):
    """(C70)"""
    assert passed(text, colour=True, monkeypatch=monkeypatch) == shown


def test_without_colours_no_escape_passes(monkeypatch):
    assert passed("\x1b[31mred\x1b[0m", monkeypatch=monkeypatch) == r"\x1b[31mred\x1b[0m"


def test_a_secret_does_not_pass(monkeypatch):
    """(C48)"""
    monkeypatch.setattr(diagnostics, "_secrets", set())
    diagnostics.remember_secret("s3cr3t\nkey")
    assert passed("cd: /s3cr3t\nkey: none\n", "a 's3cr3t\\nkey'\n") == "cd: /***: none\na '***'\n"


values = st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner))


@given(values)
def test_json_has_the_same_value_and_nothing_that_acts_or_hides(value):
    shown = passed(json.dumps(value, indent=1, ensure_ascii=False), is_json=True)
    assert json.loads(shown) == value
    assert shown == with_colours(shown)


@pytest.mark.parametrize("char", ["\x7f", "\x85", "\u2028", "\u202e", "\u3164", "\U000e0041", "\U000e0100"])
def test_a_character_that_acts_or_hides_is_escaped_in_json(char):
    shown = json_text(json.dumps(f"é{char}", ensure_ascii=False))
    assert char not in shown
    assert json.loads(shown) == f"é{char}"


def test_the_door_is_opened_once_and_writes_where_the_stream_did(monkeypatch):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    door.open_door()
    door.expect_json(door.sys.stdout)
    print('{"é": "##[error]\u202e"}', flush=True)
    assert buffer.getvalue().decode() == '{"é": "##\\u005berror]\\u202e"}\n'

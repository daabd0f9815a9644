"""The one place that neutralises workflow commands (C49), for text that is written in any pieces."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.reporters.github import Guard, escape


def written(*pieces, is_json=False):
    stream = io.BytesIO()
    guard = Guard(stream)
    guard.is_json = is_json
    for piece in pieces:
        assert guard.write(piece) == len(piece)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"::error::x\n", b": :error::x\n"),
        (b"a\n \xe2\x80\x8b::error::x\n", b"a\n \xe2\x80\x8b: :error::x\n"),
        (b"\x1b[1m::error::x\n", b"\x1b[1m: :error::x\n"),
        (b"a ::error::x\n", b"a ::error::x\n"),
        (b"a ##[error]x\n", b"a ## [error]x\n"),
        (b"###[error]\r::x\n", b"### [error]\r: :x\n"),
    ],
)
def test_commands_are_neutralised_in_one_piece_and_byte_by_byte(printed, shown):
    assert written(printed) == shown
    if b"\x1b" not in printed:
        assert written(*(bytes([byte]) for byte in printed)) == shown


def test_json_keeps_its_values():
    assert written(b'{"a": "##', b'[x]"}', is_json=True) == rb'{"a": "##\u005bx]"}'


@given(st.lists(st.text("ab:# [\n\r\u200b", max_size=6).map(str.encode)))
def test_no_pieces_add_up_to_a_command(pieces):
    found = written(*pieces)
    assert escape(found) == found
    assert found.replace(b" ", b"") == b"".join(pieces).replace(b" ", b"")

"""The one place that neutralises workflow commands (C49), for text that is written in any pieces."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mprun.reporters.ci_guard import Guard, escape


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


@pytest.mark.parametrize("marker", [b"section_start", b"section_end"])
def test_sections_of_gitlab_are_neutralised_in_any_pieces(marker):
    printed = b"a " + marker + b":1:evil\r\x1b[0K ::error::x\n" + marker + b":2:b\n"
    for size in (1, 5, 13, 14, 100):
        stream = io.BytesIO()
        guard = Guard(stream, ("gitlab",))
        for begin in range(0, len(printed), size):
            guard.write(printed[begin : begin + size])
        assert stream.getvalue() == printed.replace(marker, marker + b" ")


def test_a_command_of_mprun_itself_passes_on_a_line_of_its_own():
    stream = io.BytesIO()
    guard = Guard(stream)
    guard.write(b"unfinished")
    guard.write_command("::error::x")
    guard.write(b"::error::y\n")
    guard.write_command("::endgroup::")
    assert stream.getvalue() == b"unfinished\n::error::x\n: :error::y\n::endgroup::\n"

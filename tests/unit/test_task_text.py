"""What a terminal shows of tasks' output, and lines that are shown before they end (C12, C13)."""

import pytest

from mprun.reporters.task_text import terminal_lines, with_resets
from mprun.reporters.unfinished_line import DELAY, DELAY_AFTER_OTHERS, UnfinishedLine, without_half

GREEN, RESET = "\x1b[32m", "\x1b[0m"


@pytest.mark.parametrize(
    ("printed", "coloured", "plain"),
    [
        ("plain\n", "plain\n", "plain\n"),
        (f"{GREEN}ok\nnext\n", f"{GREEN}ok{RESET}\nnext\n", "\\x1b[32mok\nnext\n"),
        (f"{GREEN}ok{RESET}\n", f"{GREEN}ok{RESET}\n", "\\x1b[32mok\\x1b[0m\n"),
        ("\x1b[1;38;5;9mbold\x1b[m\n", "\x1b[1;38;5;9mbold\x1b[m\n", "\\x1b[1;38;5;9mbold\\x1b[m\n"),
        ("windows\r\n", "windows\n", "windows\n"),
        (" 10%\r 20%\r 30%\n", " 30%\n", " 30%\n"),
        (" 10%\r 20%\r\n", " 20%\n", " 20%\n"),
        ("5/5\r\x1b[0m\n", "5/5\n", "5/5\n"),
        (f"\r{GREEN} 99%\r{GREEN}100%\n", f"{GREEN}100%{RESET}\n", "\\x1b[32m100%\n"),
        ("\x1b[2J\x1b]0;t\x07\x08\x1b[31\n", "\\x1b[2J\\x1b]0;t\\x07\\x08\\x1b[31\n", None),
        ("\x9b31m\u202e\x7f\n", "\\x9b31m\\u202e\\x7f\n", None),
        # Nothing that is left out joins what is around it to a sequence.
        ("\x1b\x1b[0m[2J\n", "\\x1b\x1b[0m[2J\n", "\\x1b\\x1b[0m[2J\n"),
        ("tab\tand ü € 😀\n", "tab\tand ü € 😀\n", None),
    ],
)
def test_a_terminal_shows_colours_and_the_last_state_of_a_line(printed, coloured, plain):
    assert terminal_lines(printed.encode(), colour=True).decode() == coloured
    assert terminal_lines(printed.encode(), colour=False).decode() == (coloured if plain is None else plain)


def test_invalid_utf_8_is_visible_on_a_terminal():
    assert terminal_lines(b"\xff\x1b[32m\xc3\n", colour=True) == b"\\xff\x1b[32m\\xc3\x1b[0m\n"


def test_resets_change_nothing_else():
    assert (
        with_resets(b"\xff\r\x1b[2J\x1b[32mgo\x1b[1m\non\n") == b"\xff\r\x1b[2J\x1b[32mgo\x1b[1m\x1b[0m\non\n"
    )


class Line:
    """An unfinished line on a terminal of 20 columns, or in a pipe."""

    def __init__(self, width=20):
        self.line = UnfinishedLine(0.0, width)

    def add(self, text, *, is_open=True, colour=True):
        shown = self.line.addition(text.encode(), b"a | ", 1.0, is_open=is_open, colour=colour)
        return shown.decode()


def test_an_unfinished_line_is_continued():
    line = Line()
    assert line.add("..", is_open=False) == "a | .."
    assert line.add("....") == ".."
    assert line.add(".....", is_open=False) == "a | ."


def test_its_last_state_is_written_over_the_one_before():
    line = Line()
    assert line.add("\r 100 of 200", is_open=False) == "a |  100 of 200"
    assert line.add("\r 100 of 200\rdone") == "\ra | done       " + "\b" * 7
    assert line.add("\r 100 of 200\rdone" + "\rdone, and longer than a row") == ", and longer than a row"
    assert line.add("\r 100 of 200\rdone" + "\rdone, and longer than a row\rshort") == "\na | short"


def test_colours_go_on_in_the_continuation():
    line = Line()
    assert line.add(f"{GREEN}one", is_open=False) == f"a | {GREEN}one{RESET}"
    assert line.add(f"{GREEN}one two") == f"{GREEN} two{RESET}"
    assert line.add(f"{GREEN}one two{RESET}") == f"{GREEN}{RESET}"


@pytest.mark.parametrize("width", [80, None])
@pytest.mark.parametrize("whole", ["€", "😀", "é", f"{GREEN}go", "\x1b[38;5;9mgo"])
def test_half_a_character_or_sequence_waits_for_the_other_half(whole, width):
    data = whole.encode()
    for end in range(1, len(whole.removesuffix("go").encode())):
        for before in (b"", b"one ", b"x\r"):
            assert without_half(before + data[:end]) == before
    assert without_half(b"one " + data) == b"one " + data
    line = UnfinishedLine(0.0, width)
    shown = line.addition(without_half(b"one " + data), b"", 0.0, is_open=False, colour=False)
    assert shown.decode().startswith("one ")


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3\x28", b"\xe2\x82!", b"\x80", b"\xa9" * 9, b"\x1b[2J", b"\x1b[3\1"]
)
def test_what_no_other_half_can_follow_does_not_wait(text):
    assert without_half(b"one " + text) == b"one " + text


def test_a_pipe_gets_the_bytes_as_they_are():
    line = Line(width=None)
    assert line.add(f"\r{GREEN}1%", is_open=False, colour=False) == f"a | \r{GREEN}1%"
    assert line.add(f"\r{GREEN}1%\r2%", colour=False) == "\r2%"


def test_colours_are_reset_in_a_pipe_that_gets_colours():
    """With FORCE_COLOR: what another task or mprun writes next would else have this colour."""
    line = Line(width=None)
    assert line.add("one", is_open=False) == "a | one"
    assert line.add(f"one\r{GREEN}1%") == f"\r{GREEN}1%{RESET}"
    assert line.add(f"one\r{GREEN}1%\r2%") == f"{GREEN}\r2%{RESET}"
    assert line.add(f"one\r{GREEN}1%\r2% 3%", is_open=False) == f"a | {GREEN} 3%{RESET}"
    assert line.add(f"one\r{GREEN}1%\r2% 3%{RESET} end") == f"{GREEN}{RESET} end"
    assert line.add(f"one\r{GREEN}1%\r2% 3%{RESET} end.") == "."


def test_an_unfinished_line_waits_and_longer_if_it_was_interrupted():
    line = UnfinishedLine(10.0, None)
    assert not line.is_due(b"x", 10.0 + DELAY / 2, is_open=False)
    assert line.is_due(b"x", 10.1 + DELAY, is_open=False)
    line.addition(b"x", b"", 20.0, is_open=False, colour=False)
    assert not line.is_due(b"x", 99.0, is_open=False)
    assert line.is_due(b"xy", 20.0, is_open=True)
    assert not line.is_due(b"xy", 20.0 + DELAY_AFTER_OTHERS / 2, is_open=False)
    assert line.is_due(b"xy", 20.0 + DELAY_AFTER_OTHERS, is_open=False)

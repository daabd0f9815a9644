"""The rows below the output: in one write with what was held, and never more than the reader takes."""

import os

import pytest

from mprun.reporters.outlet import Outlet, OutletStream
from mprun.reporters.region import MAX_HELD, Region, terminal_reflows


class Terminal:
    """A pipe in place of a terminal, with the rows at its end."""

    def __init__(self, reflows=True):
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(writer, False)
        self.writer = writer
        self.outlet = Outlet()
        self.stream = OutletStream(writer, self.outlet, writer)
        self.size = (80, 24)
        self.region = Region(self.stream, lambda: self.size, reflows=reflows)
        self.region.open()

    def shown(self):
        """What was written since the last call."""
        data = b""
        try:
            while more := os.read(self.reader, 65536):
                data += more
        except BlockingIOError:
            return data
        return data

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_output_waits_for_the_next_frame_and_comes_above_it(terminal):
    terminal.stream.write(b"one\n")
    assert terminal.shown() == b""
    assert terminal.region.draw(["row"])
    assert terminal.shown() == b"one\nrow\x1b[K\n"
    terminal.stream.write(b"two\n")
    terminal.stream.write(b"three\n")
    terminal.region.draw(["row", "another"])
    assert terminal.shown() == b"\r\x1b[1A\x1b[Jtwo\nthree\nrow\x1b[K\nanother\x1b[K\n"
    terminal.region.close()
    assert terminal.shown() == b"\r\x1b[2A\x1b[J"
    terminal.stream.write(b"four\n")
    assert terminal.shown() == b"four\n"


def test_nothing_is_written_if_nothing_has_changed(terminal):
    terminal.region.draw(["row"])
    terminal.shown()
    assert not terminal.region.draw(["row"])
    assert terminal.shown() == b""
    assert terminal.region.draw(["other"])
    assert terminal.shown() == b"\r\x1b[1Aother\x1b[K\n\x1b[J"


def test_much_output_does_not_wait_and_the_rows_stay_below_it(terminal):
    terminal.region.draw(["row"])
    terminal.shown()
    flood = b"x" * MAX_HELD + b"\n"
    for _ in range(2):
        terminal.stream.write(flood)
        assert terminal.shown() == b"\r\x1b[1A\x1b[J" + flood + b"row\x1b[K\n"
    # They would be wrong for another size.
    terminal.size = (40, 24)
    terminal.stream.write(flood)
    assert terminal.shown() == b"\r\x1b[1A\x1b[J" + flood
    terminal.region.draw(["row"])
    assert terminal.shown() == b"row\x1b[K\n"


def test_only_one_frame_waits_for_a_reader_that_does_not_read(terminal):
    flood = b"x" * (1 << 20) + b"\n"
    terminal.outlet.show(iter([terminal.stream.write(flood)]))
    assert terminal.region.draw(["row"])
    assert not terminal.region.draw(["other"])
    shown = b""
    while terminal.outlet.is_behind:
        shown += terminal.shown()
        terminal.outlet.pump(is_writable=True)
    assert shown + terminal.shown() == flood + b"row\x1b[K\n"
    assert terminal.region.draw(["other"])


def test_a_narrower_terminal_has_wrapped_the_rows(terminal):
    terminal.region.draw(["x" * 79, "short", "\x1b[31m" + "y" * 41 + "\x1b[0m"])
    terminal.shown()
    terminal.size = (40, 24)
    terminal.region.close()
    assert terminal.shown() == b"\r\x1b[5A\x1b[J"


def test_typed_lines_and_what_others_have_written_are_taken_into_account(terminal):
    terminal.region.draw(["row"])
    terminal.region.typed_lines = 2
    terminal.shown()
    terminal.region.draw(["row"])
    assert terminal.shown() == b"\r\x1b[3A\x1b[Jrow\x1b[K\n"
    terminal.region.forget()
    terminal.region.draw(["row"])
    assert terminal.shown() == b"row\x1b[K\n"


@pytest.mark.parametrize(
    ("variables", "reflows"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "XTERM_VERSION": "XTerm(370)"}, False),
        ({"TERM": "screen-256color"}, False),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux-0/default,1,0"}, True),
        ({"TERM": "linux"}, False),
    ],
)
def test_which_terminals_wrap_old_rows_is_known(variables, reflows):
    assert terminal_reflows(variables) is reflows

"""What is shown never waits for a reader; at the end it does for some seconds, unless a signal comes."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import pytest

from mprun.reporters.outlet import TURN_BYTES, Display

# Longer than any test may take.
LONG = 1000.0


@pytest.fixture
def stalled():
    """A display whose reader takes nothing, behind which two lines wait."""
    reader, writer = os.pipe()
    display = Display()
    stream = display.open(writer, "events")
    os.set_blocking(writer, False)
    while True:
        try:
            os.write(writer, b"x" * 65536)
        except BlockingIOError:
            break
    stream.write("one\ntwo\n")
    stream.flush()
    yield display, reader, stream
    os.close(reader)
    stream.detach()
    os.close(writer)


def test_a_signal_ends_the_wait_for_a_reader_at_the_end(stalled):
    display, *_ = stalled
    display.interrupt()
    begun = time.monotonic()
    assert display.finish(LONG) == "2 lines of events not shown, because not read in time"
    assert time.monotonic() - begun < LONG / 2


def test_after_the_seconds_it_is_said_what_was_not_shown(stalled):
    display, *_ = stalled
    assert display.finish(0.05) == "2 lines of events not shown, because not read in time"


def test_what_takes_too_long_to_count_is_only_said_to_be_more(stalled):
    display, _, stream = stalled
    stream.buffer.outlet.show(stream.buffer.write(b"a line\n") for _ in range(3))
    # No time is left to count.
    stream.buffer.outlet.give_up(0.0)
    assert display.finish(0.0) == "more than 2 lines of events not shown, because not read in time"


def test_a_reader_that_still_reads_gets_everything(stalled):
    display, reader, _ = stalled
    os.set_blocking(reader, False)
    while True:
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    assert display.finish(LONG) == ""
    assert os.read(reader, 100) == b"one\ntwo\n"


@contextmanager
def stream_to(path, display, name):
    """A stream of a display that writes to a file."""
    with open(path, "wb") as file:
        stream = display.open(file.fileno(), name)
        yield stream
        stream.detach()


PIECE = b"y" * TURN_BYTES


def show_in_turns(stream):
    """Show three pieces, each of which is all that is written in a turn."""
    stream.buffer.outlet.show(stream.buffer.write(PIECE) for _ in range(3))


def test_a_file_gets_everything_however_long_its_disk_takes(tmp_path):
    display = Display()
    with stream_to(tmp_path / "out", display, "events") as stream:
        show_in_turns(stream)
        # No time is left.
        assert display.finish(0.0) == ""
    assert (tmp_path / "out").read_bytes() == 3 * PIECE


def test_a_file_gets_everything_although_a_reader_reads_nothing(stalled, tmp_path):
    display, *_ = stalled
    with stream_to(tmp_path / "out", display, "stdout") as stream:
        show_in_turns(stream)
        # No time is left.
        assert display.finish(0.0) == "2 lines of events not shown, because not read in time"
    assert (tmp_path / "out").read_bytes() == 3 * PIECE


def test_what_a_program_reads_does_not_wait_for_another_reader(stalled, tmp_path):
    display, *_ = stalled
    with stream_to(tmp_path / "out", display, "stdout") as stream:
        display.wait_for_reader()
        stream.write("{}\n")
        stream.flush()
        assert (tmp_path / "out").read_text() == "{}\n"

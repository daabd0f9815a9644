"""What is shown never waits for a reader; at the end it does for some seconds, unless a signal comes."""

from __future__ import annotations

import os
import time

import pytest

from mprun.reporters.outlet import Display

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
    yield display, reader
    os.close(reader)
    stream.detach()
    os.close(writer)


def test_a_signal_ends_the_wait_for_a_reader_at_the_end(stalled):
    display, _ = stalled
    display.interrupt()
    begun = time.monotonic()
    assert display.finish(LONG) == "2 lines of events not shown, because not read in time"
    assert time.monotonic() - begun < LONG / 2


def test_after_the_seconds_it_is_said_what_was_not_shown(stalled):
    display, _ = stalled
    assert display.finish(0.05) == "2 lines of events not shown, because not read in time"


def test_a_reader_that_still_reads_gets_everything(stalled):
    display, reader = stalled
    os.set_blocking(reader, False)
    while True:
        try:
            os.read(reader, 1 << 20)
        except BlockingIOError:
            break
    assert display.finish(LONG) == ""
    assert os.read(reader, 100) == b"one\ntwo\n"

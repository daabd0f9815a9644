"""The thread that writes where writing may block: what it says is left is what the reader has not got."""

import contextlib
import os
import socket
import threading

import pytest
from support.runs import eventually

from mprun.reporters import relay as module
from mprun.reporters.relay import Relay


@pytest.fixture
def ends():
    """The two ends of a socket: the reader's, and the one that is written."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def fill(end):
    """Write until the reader has to read; how many bytes."""
    end.setblocking(False)
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += end.send(b"x" * 4096)
    return size


def read(end, size):
    """So many bytes, which are waited for."""
    data = bytearray()
    while len(data) < size:
        data += end.recv(size - len(data))
    return bytes(data)


def test_a_reader_that_has_gone_is_an_error_of_the_next_write_and_nothing_is_busy(ends):
    ours, theirs = ends
    relay = Relay(theirs.fileno())
    ours.close()
    os.write(relay.writer, b"a\nb\n")
    eventually(lambda: not relay.is_busy())
    assert relay.left() == 0
    with pytest.raises(BrokenPipeError):
        os.write(relay.writer, b"c\n")


def test_a_writer_that_waits_for_room_learns_that_the_reader_has_gone(ends):
    ours, theirs = ends
    fill(theirs)
    theirs.setblocking(True)
    relay = Relay(theirs.fileno())
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(relay.writer, b"a\n" * 2048)
    ours.close()
    eventually(lambda: not relay.is_busy())
    assert relay.left() == 0
    with pytest.raises(BrokenPipeError):
        os.write(relay.writer, b"c\n")


class WatchedOs:
    """The module `os` with some functions of the test's."""

    def __init__(self, **functions):
        self.__dict__.update(functions)

    def __getattr__(self, name):
        return getattr(os, name)


def test_a_full_socket_that_does_not_block_is_waited_for(ends, monkeypatch):
    """O_NONBLOCK is shared with all that have inherited it, and may be set by any of them."""
    ours, theirs = ends
    ours.settimeout(10)
    was_refused = threading.Event()

    def write(descriptor, data):
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            was_refused.set()
            raise

    monkeypatch.setattr(module, "os", WatchedOs(write=write))
    size = fill(theirs)
    relay = Relay(theirs.fileno())
    os.write(relay.writer, b"a\nb\n")
    assert was_refused.wait(10)
    assert read(ours, size) == b"x" * size
    assert read(ours, 4) == b"a\nb\n"
    eventually(lambda: not relay.is_busy())
    assert relay.left() == 0


def test_it_is_busy_between_reading_and_writing(ends, monkeypatch):
    _, theirs = ends
    fill(theirs)
    theirs.setblocking(True)
    has_read, may_go_on = threading.Event(), threading.Event()

    def read_slowly(descriptor, size):
        data = os.read(descriptor, size)
        has_read.set()
        may_go_on.wait()
        return data

    monkeypatch.setattr(module, "os", WatchedOs(read=read_slowly))
    relay = Relay(theirs.fileno())
    os.write(relay.writer, b"a\nb\n")
    assert has_read.wait(10)
    answers = []
    asking = threading.Thread(target=lambda: answers.append((relay.is_busy(), relay.left())))
    asking.start()
    # It answers now, or when the thread continues; nothing is written in either case, because no one reads.
    asking.join(0.2)
    may_go_on.set()
    asking.join()
    assert answers == [(True, 2)]

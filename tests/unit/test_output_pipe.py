"""A command's pipe, and its log, which the launcher opens only once there is something to move."""

from __future__ import annotations

import os
import select
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("splice(2) and epoll are Linux's", allow_module_level=True)

from mprun.launcher.output_pipe import OutputPipe


@pytest.fixture
def pipe():
    pipe = OutputPipe(0)
    yield pipe
    if pipe.read_end >= 0:
        pipe.close()


def open_descriptors():
    return set(os.listdir("/proc/self/fd"))


def test_a_pipe_without_output_opens_no_log(tmp_path, pipe):
    pipe.begin(str(tmp_path / "log"))
    writer = pipe.open_write_end()
    pipe.drain_rest()
    assert not pipe.has_ended
    os.close(writer)
    pipe.drain_rest()
    assert (pipe.has_ended, pipe.error, os.listdir(tmp_path)) == (True, "", [])


def test_a_pipe_opens_the_log_at_its_first_byte_and_continues_behind_what_is_there(tmp_path, pipe):
    (tmp_path / "log").write_bytes(b"one\n")
    pipe.begin(str(tmp_path / "log"))
    writer = pipe.open_write_end()
    os.write(writer, b"two\n")
    os.close(writer)
    assert pipe.drain() == 4
    pipe.drain_rest()
    assert (pipe.has_ended, (tmp_path / "log").read_bytes()) == (True, b"one\ntwo\n")


def test_a_log_needs_no_descriptor_that_the_pipe_does_not_have(tmp_path, pipe):
    """Commands whose launcher has none left must not wait for one another's."""
    before = open_descriptors()
    for number in range(3):
        pipe.begin(str(tmp_path / f"{number}"))
        writer = pipe.open_write_end()
        os.write(writer, b"x")
        os.close(writer)
        pipe.drain_rest()
        assert open_descriptors() == before
        pipe.close_files()
        assert (open_descriptors(), (tmp_path / f"{number}").read_bytes()) == (before, b"x")


def test_what_a_log_that_cannot_be_opened_does_not_take_stays_in_the_pipe(tmp_path, pipe):
    (tmp_path / "file").touch()
    pipe.begin(str(tmp_path / "file" / "log"))
    writer = pipe.open_write_end()
    os.write(writer, b"one\n")
    assert (pipe.drain(), pipe.error) == (0, "Not a directory")
    assert os.read(pipe.read_end, 10) == b"one\n"
    os.close(writer)


def test_poll_shows_data_and_end_apart_and_takes_nothing():
    """What the pipe relies on: an end without data is POLLHUP alone."""
    read_end, write_end = os.pipe()
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    assert poll.poll(0) == []
    os.write(write_end, b"x")
    assert poll.poll(0) == [(read_end, select.POLLIN)]
    os.close(write_end)
    assert poll.poll(0) == [(read_end, select.POLLIN | select.POLLHUP)]
    assert os.read(read_end, 10) == b"x"
    assert poll.poll(0) == [(read_end, select.POLLHUP)]
    os.close(read_end)


def test_a_log_that_was_truncated_is_not_replaced(tmp_path, pipe):
    log = tmp_path / "log"
    pipe.begin(str(log))
    writer = pipe.open_write_end()
    os.write(writer, b"x" * 1000)
    pipe.drain()
    os.close(writer)
    inode = log.stat().st_ino
    os.truncate(log, 10)
    pipe.replace_log([pipe])
    assert log.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["log"]

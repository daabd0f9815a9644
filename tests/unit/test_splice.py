"""Moving bytes from a pipe into a file, and what of pipes and epoll the launcher relies on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mprun.linux import open_files, splice

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="splice(2) is Linux's")


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read_end, False)
    descriptors = [read_end, write_end]
    yield read_end, write_end
    for descriptor in descriptors:
        # Some tests close one.
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.fixture
def file(tmp_path):
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def refuse(*_, **__):
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.mark.parametrize("is_refused", [False, True])
def test_move_says_what_it_has_moved_that_the_pipe_is_empty_and_that_it_has_ended(
    pipe, file, is_refused, monkeypatch
):
    """Where a file system refuses splice, it reads and writes."""
    if is_refused:
        monkeypatch.setattr(os, "splice", refuse)
    read_end, write_end = pipe
    with pytest.raises(BlockingIOError):
        splice.move(read_end, file)
    os.write(write_end, b"one")
    assert splice.move(read_end, file) == 3
    os.write(write_end, b"two")
    os.close(write_end)
    assert splice.move(read_end, file) == 3
    assert splice.move(read_end, file) == 0
    assert os.pread(file, 100, 0) == b"onetwo"


def test_bytes_that_the_file_does_not_take_stay_in_the_pipe():
    """So a kill or a full disk in the middle of a splice loses nothing."""
    code = """
        import os, resource, signal, tempfile
        from mprun.linux import splice

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        file = os.open(tempfile.mkdtemp() + "/log", os.O_RDWR | os.O_CREAT)
        os.write(write_end, b"0123456789abcdef")
        moved = splice.move(read_end, file)
        try:
            splice.move(read_end, file)
        except OSError as error:
            print(moved, error.strerror, os.read(read_end, 100), os.pread(file, 100, 0))
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "10 File too large b'abcdef' b'0123456789'\n"


def test_splice_refuses_a_file_that_was_opened_for_appending(pipe, tmp_path):
    read_end, write_end = pipe
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(write_end, b"one")
    with pytest.raises(OSError, match="Invalid argument"):
        os.splice(read_end, file, 100)
    os.close(file)


def test_a_pipe_without_writers_can_be_opened_for_writing_again(pipe):
    """With /proc/self/fd; epoll reports its end until then, and no more afterwards."""
    read_end, write_end = pipe
    epoll = select.epoll()
    epoll.register(read_end, select.EPOLLIN)
    assert epoll.poll(0) == []
    os.close(write_end)
    assert epoll.poll(0) == [(read_end, select.EPOLLHUP)]
    again = os.open(f"/proc/self/fd/{read_end}", os.O_WRONLY)
    assert epoll.poll(0) == []
    assert os.get_blocking(again)
    os.write(again, b"one")
    assert os.read(read_end, 100) == b"one"
    os.close(again)
    epoll.close()


def test_an_event_disarms_a_pipe_that_was_registered_for_one(pipe):
    read_end, write_end = pipe
    epoll = select.epoll()
    epoll.register(read_end, select.EPOLLIN | select.EPOLLONESHOT)
    os.close(write_end)
    assert epoll.poll(0) == [(read_end, select.EPOLLHUP)]
    assert epoll.poll(0) == []
    epoll.close()


def test_a_flood_makes_a_pipe_larger(pipe):
    read_end, _ = pipe
    get_size = 1032
    assert fcntl.fcntl(read_end, get_size) == splice.PIPE_BYTES
    capacity = splice.enlarge(read_end)
    assert capacity == fcntl.fcntl(read_end, get_size)
    assert capacity in (splice.PIPE_BYTES, splice.LARGE_PIPE_BYTES)


def test_whether_a_process_tree_has_a_file_open(tmp_path):
    path = tmp_path.resolve() / "log"
    path.touch()
    assert not open_files.tree_has_open(os.getpid(), str(path))
    child = subprocess.Popen(
        ["sh", "-c", "sh -c 'exec < log; echo; exec sleep 60' & wait"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        child.stdout.readline()
        assert open_files.tree_has_open(child.pid, str(path))
        assert open_files.tree_has_open(os.getpid(), str(path))
    finally:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        for pid in [*map(int, children), child.pid]:
            os.kill(pid, signal.SIGKILL)
        child.communicate()
    assert not open_files.tree_has_open(child.pid, str(path))

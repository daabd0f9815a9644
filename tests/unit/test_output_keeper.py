"""The process that drains commands' pipes after the launcher waits for one that drains them still."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

import pytest
from support.runs import alive, eventually

if sys.platform != "linux":
    pytest.skip("splice(2) and SCM_RIGHTS are Linux's", allow_module_level=True)

from mprun.launcher import fork, worker
from mprun.launcher.output_keeper import Keeper
from mprun.launcher.output_pipe import OutputPipe
from mprun.linux import procfs

# What the drainer has taken out of the pipe when the launcher dies, and what is left there.
TAKEN, LEFT = b"taken\n", b"left\n"


def drain_slowly(keeper, pipe, log, taken, go_on):
    """As a drainer that is stopped inside splice(2): it has taken bytes, and not written them."""
    position = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    keeper.announce_drainer(pipe.slot)
    data = os.read(pipe.read_end, len(TAKEN))
    os.write(taken, b"\0")
    os.read(go_on, 1)
    os.write(position, data)


def launch(logs, taken, go_on, pids):
    """As a launcher with a keeper, a pipe and a drainer, which is then killed."""
    worker.logs = os.open(logs, os.O_RDONLY | os.O_DIRECTORY)
    fork.launcher_pidfd.clear()
    fork.open_launcher_pidfd()
    keeper, pipe = Keeper(), OutputPipe(0)
    keeper.hold(0, pipe.read_end)
    keeper.name_log(0, "log")
    writer = pipe.open_write_end()
    os.write(writer, TAKEN + LEFT)
    os.close(writer)
    drainer = os.fork()
    if drainer == 0:
        drain_slowly(keeper, pipe, logs / "log", taken, go_on)
        os._exit(0)
    os.write(pids, f"{keeper.pid} {drainer}".encode())
    os.kill(os.getpid(), 9)


def test_a_pipe_that_is_dropped_before_the_keeper_was_told_of_it_is_not_sent():
    """By then its descriptor may be another file's."""
    keeper = Keeper.__new__(Keeper)
    keeper.untold = {}
    keeper._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with keeper._sock, theirs:
        keeper._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 0)
        count = 0
        while not keeper.untold:
            keeper.hold(count, theirs.fileno())
            count += 1
        last = count - 1
        keeper.hold(count, -2)
        keeper.drop(count)
        assert keeper.untold == {last: theirs.fileno(), count: -1}
        held = []
        while len(held) <= count:
            message, descriptors, _, _ = socket.recv_fds(theirs, 100, 1)
            held.append((int.from_bytes(message[1:], "big"), len(descriptors)))
            for descriptor in descriptors:
                os.close(descriptor)
            keeper.tell()
        assert held == [*((slot, 1) for slot in range(count)), (count, 0)]
        assert keeper.untold == {}


def test_nothing_is_kept_for_a_keeper_that_has_ended():
    keeper = Keeper.__new__(Keeper)
    keeper.untold = {}
    keeper._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with keeper._sock:
        keeper.hold(0, keeper._sock.fileno())
    assert keeper.untold == {}


def test_one_that_was_reaped_is_not_killed(monkeypatch):
    """A module's handler of SIGCHLD may reap every child; the pid may be another process's by then."""
    killed = []
    monkeypatch.setattr(os, "kill", lambda *signal: killed.append(signal))
    keeper = Keeper.__new__(Keeper)
    keeper.pid = os.fork()
    if keeper.pid == 0:
        os._exit(0)
    os.waitpid(keeper.pid, 0)
    keeper.close()
    assert killed == []


def test_it_drains_nothing_before_the_drainer_has_ended(tmp_path):
    """(C09) Else both would write to the same place of the log, and one would be lost."""
    (taken, says_taken), (may_go_on, go_on), (pids, says_pids) = os.pipe(), os.pipe(), os.pipe()
    launcher = os.fork()
    if launcher == 0:
        with contextlib.suppress(BaseException):
            launch(tmp_path, says_taken, may_go_on, says_pids)
        os._exit(1)
    os.close(says_taken)
    assert os.read(taken, 1) == b"\0"
    assert os.WTERMSIG(os.waitpid(launcher, 0)[1]) == 9
    keeper, drainer = map(int, os.read(pids, 100).split())

    def keeper_waits_or_has_ended():
        stat = procfs.read_stat(keeper)
        return stat is None or stat.state in "SZ"

    # The death of the launcher has woken it, so this is its next wait.
    eventually(keeper_waits_or_has_ended)
    os.write(go_on, b"\0")
    eventually(lambda: not alive(drainer) and not alive(keeper))
    assert (tmp_path / "log").read_bytes() == TAKEN + LEFT
    for descriptor in (taken, may_go_on, go_on, pids, says_pids):
        os.close(descriptor)

"""wait4(2): the status, the CPU time and the peak memory of a child, in one call."""

import os
import resource
import subprocess
import threading

import pytest

from mprun.linux import wait4


@pytest.mark.parametrize("ends", [lambda: os._exit(3), lambda: os.kill(os.getpid(), 9)])
def test_wait_returns_what_os_wait4_returns(ends):
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            sum(range(2_000_000))
            bytearray(30_000_000)
            ends()
        pids.append(pid)
    status, cpu, max_rss = wait4.wait(pids[0], 0)
    _, expected, usage = os.wait4(pids[1], 0)
    assert status == expected
    assert cpu == pytest.approx(usage.ru_utime + usage.ru_stime, rel=0.9)
    assert max_rss == pytest.approx(usage.ru_maxrss * 1024, rel=0.1)


def test_wait_returns_at_once_for_a_running_child_and_raises_if_there_is_none():
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    assert wait4.wait(pid) is None
    os.close(write)
    assert wait4.wait(pid, 0)[0] == 0
    with pytest.raises(ChildProcessError):
        wait4.wait(pid)


@pytest.mark.skipif(not wait4._prlimit, reason="elsewhere Python's own function is called")
def test_a_limit_is_not_that_for_which_another_thread_asks_meanwhile(monkeypatch):
    """By this limit a process is known as one of a run that was killed, and is killed."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (own - 1, own))
        call, others = wait4.call_function, []

        def ask():
            others.append(wait4.soft_limit(child.pid, resource.RLIMIT_NOFILE))

        def call_slowly(function, arguments):
            found = call(function, arguments)
            if not others:
                others.append(None)
                # While C code runs, another thread may.
                thread = threading.Thread(target=ask)
                thread.start()
                thread.join()
            return found

        monkeypatch.setattr(wait4, "call_function", call_slowly)
        assert wait4.soft_limit(os.getpid(), resource.RLIMIT_NOFILE) == own
        assert others == [None, own - 1]
    finally:
        child.kill()
        child.wait()

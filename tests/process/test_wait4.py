"""wait4(2): the status, the CPU time and the peak memory of a child, in one call."""

import os

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

"""The launcher's multiprocessing is a lean one, until somebody asks it for more."""

import os
import subprocess
import sys

import pytest

from mprun.linux import wait4

LEAN = """
import sys
from mprun.launcher.main import import_multiprocessing
import_multiprocessing()
import multiprocessing
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", LEAN + code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_it_has_neither_pickle_nor_subprocess():
    code = "print(*sorted({'pickle', 'socket', 'struct', 'subprocess', 're'} & set(sys.modules)))"
    assert run(code) == []


@pytest.mark.parametrize(
    "asks",
    [
        "queue = multiprocessing.Queue(); queue.put(5); assert queue.get() == 5",
        "with multiprocessing.Pool(1) as pool: assert pool.map(abs, [-5]) == [5]",
        "ours, theirs = multiprocessing.Pipe(); ours.send(5); assert theirs.recv() == 5",
        "with multiprocessing.Manager() as manager: assert manager.list([5])[0] == 5",
        "assert multiprocessing.reducer.ForkingPickler.dumps(5)",
        "from multiprocessing.reduction import ForkingPickler",
        "import subprocess; assert subprocess.run(['true']).returncode == 0",
        "context = multiprocessing.get_context('spawn'); one = context.Process(target=abs, args=(-5,)); "
        "one.start(); one.join(); assert one.exitcode == 0",
        "assert isinstance(multiprocessing.util._args_from_interpreter_flags(), list)",
    ],
)
def test_who_asks_for_more_gets_it(asks):
    assert run(f"{asks}\nprint('got it')") == ["got", "it"]


def test_it_is_found_where_it_is():
    code = """
import importlib.util
print(importlib.util.find_spec("multiprocessing.reduction").origin == multiprocessing.reduction.__file__)
"""
    assert run(code) == ["True"]


@pytest.mark.parametrize("ends", [lambda: os._exit(3), lambda: os.kill(os.getpid(), 9)])
def test_a_wait_tells_what_os_wait4_tells(ends):
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


def test_a_wait_for_one_that_runs_returns_at_once_and_for_none_raises():
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

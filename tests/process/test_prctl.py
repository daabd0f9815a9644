"""prctl(2): processes that die with their parent, and processes that get orphans as children."""

import os
import subprocess
import sys

import pytest
from support.runs import alive, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")

PARENT = """
import os, time
from mprun.linux import prctl
child = os.fork()
if child == 0:
    prctl.die_with_parent({parent})
    print(os.getpid(), flush=True)
    time.sleep(60)
{then}
"""


def test_a_child_dies_with_its_parent():
    code = PARENT.format(parent="os.getppid()", then="time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not alive(child))


def test_a_child_whose_parent_has_died_already_exits():
    code = PARENT.format(parent="1 << 22", then="print(os.waitpid(child, 0)[1])")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert os.waitstatus_to_exitcode(int(done.stdout)) == 1


@pytest.mark.parametrize("tried", ["prctl.TRIED_PYTHON", "(3, 0)"])
def test_orphans_become_children_of_a_subreaper(tried):
    code = f"""
import os
from mprun.linux import prctl
prctl.TRIED_PYTHON = {tried}
before = prctl.is_child_subreaper()
prctl.set_child_subreaper(True)
during = prctl.is_child_subreaper()
reader, writer = os.pipe()
middle = os.fork()
if middle == 0:
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
    os._exit(0)
os.waitpid(middle, 0)
os.close(writer)
os.wait()
prctl.set_child_subreaper(False)
print(before, during, prctl.is_child_subreaper())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["False", "True", "False"], done.stderr

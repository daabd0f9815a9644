"""What each fork would do anew, because it ends before the launcher could have any of it."""

import os
import platform
import sys

import pytest
from support.runs import mprun, write

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="LD_DEBUG, see ld.so(8)"
)


def test_no_fork_looks_up_a_function_of_the_c_library(tmp_path):
    """The first call of one finds it; only the process of the task would ever call `_exit` or `execv`."""
    tasks = "tasks: [{target: work:noop, foreach: [1, 2, 3]}, {command: ['true'], foreach: [1, 2, 3]}]"
    write(tmp_path, work="def noop(): pass", job=tasks)
    variables = {**os.environ, "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(tmp_path / "bound")}
    run = mprun("job.yaml", cwd=tmp_path, env=variables)
    pids = {str(event["pid"]) for event in run.of("task_started")}
    assert (run.code, len(pids)) == (0, 6)
    lines = [line for file in tmp_path.glob("bound.*") for line in file.read_text().splitlines()]
    assert lines
    # After its exec a command is another program.
    assert [line for line in lines if line.partition(":")[0].strip() in pids and "python" in line] == []

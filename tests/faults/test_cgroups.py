"""Tasks in a control group whose memory is limited (C73)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import pytest
from support.runs import START_METHODS, finish, start, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")

MIB = 1 << 20
LIMIT = 96 * MIB
WORK = """\
    import mmap, os, signal

    def hog():
        # Written to, page by page; not freed.
        memory = mmap.mmap(-1, 512 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for start in range(0, len(memory), 4096):
            memory[start] = 1

    def hog_in_a_child():
        if os.fork() == 0:
            hog()
        os._exit(128 + os.waitstatus_to_exitcode(os.wait()[1]) * -1)

    def survive():
        if os.fork() == 0:
            hog()
        os.wait()

    def die():
        os.kill(os.getpid(), signal.SIGKILL)
"""


def own_group(version):
    """The directory of this process's group, and the name of the file with its limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if version == 2 and controllers == "":
            return Path(f"/sys/fs/cgroup{path}"), "memory.max"
        if version == 1 and "memory" in controllers.split(","):
            return Path(f"/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"
    pytest.skip(f"no memory controller of cgroups, version {version}")


@pytest.fixture(params=[1, 2])
def group(request):
    """A group with a limit, in which processes can be put."""
    directory, limit = own_group(request.param)
    if not (directory / "cgroup.procs").exists():
        pytest.skip("the own cgroup is not there")
    made = directory / f"mprun-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        with open(made / limit, "r+") as file:
            file.write(str(LIMIT))
    except OSError as error:
        made.rmdir()
        pytest.skip(f"its memory cannot be limited: {error}")
    yield made
    while True:
        # It is busy until the kernel has done with the last process.
        with contextlib.suppress(OSError):
            made.rmdir()
            return
        time.sleep(0.01)


def run_in(group, tmp_path, tasks, *options):
    write(tmp_path, work=WORK, job=json.dumps({"tasks": tasks}))

    def enter():
        (group / "cgroup.procs").write_text(str(os.getpid()))

    return finish(start("job.yaml", *options, cwd=tmp_path, preexec_fn=enter), tmp_path / ".mprun")


@pytest.mark.parametrize("method", START_METHODS)
def test_a_kill_for_lack_of_memory_is_called_that(group, tmp_path, method):
    """(C73)"""
    tasks = [
        {"name": "killed", "target": "work:die"},
        {"name": "hog", "target": "work:hog", "depends_on": {"killed": "finished"}},
        {"name": "shell", "target": "work:hog_in_a_child", "depends_on": {"hog": "finished"}},
        {"name": "again", "target": "work:die", "depends_on": {"shell": "finished"}},
        {"name": "survives", "target": "work:survive", "depends_on": {"again": "finished"}},
        {"name": "another", "target": "work:die", "depends_on": "survives"},
    ]
    run = run_in(group, tmp_path, tasks, "--start-method", method)
    assert run.code == 1, run.stderr
    reasons = {event["task"]: event["reason"] for event in run.of("task_finished")}
    assert reasons == {
        "killed": "killed by SIGKILL",
        "hog": "killed by SIGKILL (out of memory: the cgroup's limit of 96 MiB)",
        "shell": "exit 137 (out of memory: the cgroup's limit of 96 MiB)",
        "again": "killed by SIGKILL",
        # A helper of the one before was killed, and that one lived on.
        "survives": "",
        "another": "killed by SIGKILL",
    }

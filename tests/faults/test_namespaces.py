"""Starts in one state directory from different PID namespaces, with the same host name (C58)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from support.runs import environment, eventually, finish, mprun, newest_run, write

ISOLATE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_isolate():
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*ISOLATE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_isolate(), reason="only root can make a PID namespace here")

SLOW = """\
    import os, time

    open("importing", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)

    def run():
        open("running", "w").close()
        while not os.path.exists("end"):
            time.sleep(0.01)
"""


def start(directory, job, isolated):
    prefix = ISOLATE if isolated else []
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "mprun", "-q", job],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.fixture
def run_slowly(tmp_path):
    """Starts a run that waits for files: `go` at its import, `end` in its task."""
    write(
        tmp_path,
        slow=SLOW,
        job="tasks: [{target: 'slow:run'}]\n",
        job_next="tasks: [{target: 'os:getpid'}]\n",
    )
    started = []

    def make(isolated):
        started.append(start(tmp_path, "job.yaml", isolated))
        eventually((tmp_path / "importing").exists)
        return started[-1]

    yield make
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def entries(directory, name):
    return sorted(os.listdir(directory / ".mprun" / name))


@pytest.mark.parametrize("phase", ["importing", "running"])
@pytest.mark.parametrize("second", [True, False], ids=["another namespace", "the first namespace"])
@pytest.mark.parametrize("first", [True, False], ids=["in a namespace", "outside"])
def test_a_run_that_cannot_be_seen_is_left_alone(tmp_path, run_slowly, first, second, phase):
    run = run_slowly(isolated=first)
    if phase == "running":
        (tmp_path / "go").touch()
        eventually((tmp_path / "running").exists)
    before = entries(tmp_path, "open"), entries(tmp_path, "runs")
    assert len(before[0]) == 1
    other = finish(start(tmp_path, "job_next.yaml", second), tmp_path / ".mprun")
    assert (other.code, other.stderr) == (0, "")
    assert entries(tmp_path, "open") == before[0]
    assert set(before[1]) < set(entries(tmp_path, "runs"))
    (tmp_path / "go").touch()
    (tmp_path / "end").touch()
    assert run.wait(20) == 0


@pytest.mark.parametrize("phase", ["importing", "running"])
def test_a_run_whose_namespace_is_gone_is_recovered(tmp_path, run_slowly, phase):
    """Its lock can be taken."""
    run = run_slowly(isolated=True)
    if phase == "running":
        (tmp_path / "go").touch()
        eventually((tmp_path / "running").exists)
    (run_id,) = entries(tmp_path, "open")
    run.kill()
    run.wait()
    other = mprun("-q", "job_next.yaml", cwd=tmp_path)
    assert other.stderr.startswith(f"warning: run {run_id} was interrupted: mprun itself was killed")
    assert entries(tmp_path, "open") == []
    assert (run_id in entries(tmp_path, "runs")) == (phase == "running")


def test_the_process_tree_shows_no_process_that_has_the_pid_here(tmp_path, run_slowly):
    """In its namespace, mprun is process 1."""
    run_slowly(isolated=True)
    (tmp_path / "go").touch()
    eventually((tmp_path / "running").exists)
    (engine,) = json.loads(mprun("tree", "--json", cwd=tmp_path).stdout)["processes"]
    assert (engine["pid"], engine["cpu"], engine["max_rss"]) == (1, None, None)


def test_a_run_that_another_namespace_has_is_named_when_it_is_to_be_stopped(tmp_path, run_slowly):
    run_slowly(isolated=True)
    (tmp_path / "go").touch()
    eventually((tmp_path / "running").exists)
    run = newest_run(tmp_path / ".mprun")
    command = [*ISOLATE, sys.executable, "-m", "mprun", "stop"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr == (
        f"error: run {run.run_id} is running where this command cannot see it, as in a container; "
        "stop it from there\n"
    )

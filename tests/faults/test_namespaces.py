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
from support.cgroups import Cgroup, why_none
from support.runs import alive, environment, eventually, finish, mprun, newest_run, recorded_starts, write

from mprun.linux import procfs
from mprun.record.owner import Owner
from mprun.record.pidfile import namespaces

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
    eventually(lambda: recorded_starts(tmp_path / ".mprun"))
    (engine,) = json.loads(mprun("tree", "--json", cwd=tmp_path).stdout)["processes"]
    (launcher,) = engine["children"]
    (task,) = launcher["children"]
    assert engine["pid"] == 1
    for process in (engine, launcher, task):
        assert (process["cpu"], process["max_rss"], process["running"]) == (None, None, False)
    # It is running, so its exit status is not unknown.
    assert task["status"] is None


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


def time_namespace(seconds):
    """A command that gives what it starts another clock since boot."""
    return ["unshare", "--time", f"--boottime={seconds}", "--fork", "--kill-child"]


HIDE = """\
    import signal, subprocess

    def hide():
        script = "echo $$ > left.new; mv left.new left; exec sleep 60"
        subprocess.Popen(["setsid", "sh", "-c", script])
        signal.pause()
"""


@pytest.fixture
def outside_of_cgroups():
    """A `preexec_fn` with which no run has a cgroup, by which the kernel would find all of it."""
    if why_none():
        yield None
        return
    cgroup = Cgroup(can_have_children=False)
    yield cgroup.enter
    cgroup.close()


@pytest.mark.skipif(
    subprocess.run([*time_namespace(0), "true"], capture_output=True, check=False).returncode != 0,
    reason="there are no time namespaces",
)
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_run_with_another_clock_is_left_alone_and_recovered(tmp_path, outside_of_cgroups, which):
    """There, /proc says of every process that it began at another time."""
    write(
        tmp_path,
        work=HIDE,
        job="tasks: [{target: 'work:hide'}]\n",
        job_next="tasks: [{target: 'os:getpid'}]\n",
    )

    def begin(job, number):
        prefix = time_namespace(1_000_000) if number == which else []
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "mprun", "-q", job],
            cwd=tmp_path,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=outside_of_cgroups,
        )

    with begin("job.yaml", "first") as process:
        eventually((tmp_path / "left").exists)
        left = int((tmp_path / "left").read_text())
        (run_id,) = entries(tmp_path, "open")
        done = finish(begin("job_next.yaml", "second"), tmp_path / ".mprun")
        assert (done.code, done.stderr, alive(left)) == (0, "", True)
        pid = int(os.readlink(tmp_path / ".mprun" / "open" / run_id).split()[0])
        (launcher,) = procfs.children(pid)
        for one in (launcher, pid):
            os.kill(one, signal.SIGSTOP)
        for one in (launcher, pid):
            os.kill(one, signal.SIGKILL)
        process.communicate()
    done = finish(begin("job_next.yaml", "second"), tmp_path / ".mprun")
    assert (done.code, done.stderr) == (
        0,
        f"warning: run {run_id} was interrupted: mprun itself was killed; killed the process that it left\n",
    )
    eventually(lambda: not alive(left))


def test_where_the_clock_is_another_nothing_is_certain_of_a_process():
    own = namespaces()
    owner = Owner(os.getpid(), 1, procfs.boot_id(), os.uname().nodename, f"{own}:1", own)
    assert (owner.is_alive, owner.has_ended, owner.began) == (False, False, 0)
    owner = Owner(os.getpid(), 1, procfs.boot_id(), os.uname().nodename, own, own)
    assert (owner.is_alive, owner.has_ended, owner.began) == (False, True, 1)

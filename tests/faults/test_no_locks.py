"""A file system without locks: the pidfile and its process decide; without it nothing is removed (C62)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.runs import eventually, mprun, newest_run, read_events, start, write

from mprun.linux import procfs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfiles are Linux's")

# Python imports it at its start.
SITE = """\
    import errno, fcntl

    asked, locks = fcntl.fcntl, {fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW}

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def refuse_locks(file, command, *more):
        return refuse() if command in locks else asked(file, command, *more)

    fcntl.lockf, fcntl.flock, fcntl.fcntl = refuse, refuse, refuse_locks
"""
JOB = "tasks: [{name: a, target: 'work:stay'}]\n"
WORK = """\
    import os, signal

    def stay():
        open("running", "w").close()
        signal.pause()
"""
WITHOUT = "its file system has no locks, and nothing else shows that it is not running"


@pytest.fixture
def without_locks(tmp_path):
    """The options of commands for which no file has locks."""
    write(tmp_path, work=WORK, job=JOB, job_next="tasks: [{target: 'os:getpid'}]\n")
    (tmp_path / "site").mkdir()
    write(tmp_path / "site", sitecustomize=SITE)
    return {"cwd": tmp_path, "env": {"PYTHONPATH": str(tmp_path / "site")}}


@pytest.fixture
def active_run(tmp_path, without_locks, crash_target):
    """A function that starts a run, and returns once its module or its task runs."""

    def launch(*arguments, cwd, env):
        return start(*arguments, cwd=cwd, env={**env, **without_locks["env"]})

    def make():
        run = crash_target(tmp_path, "-q", "job.yaml", launch=launch)
        eventually((tmp_path / "running").exists)
        return run

    return make


@pytest.fixture
def killed_run(tmp_path, active_run):
    """A run of which engine and launcher were killed: its directory."""
    run = active_run()
    run.kill_both()
    return newest_run(tmp_path / ".mprun")


def pidfile(directory):
    return os.path.join(directory.state.path, "open", directory.run_id)


def prune(without_locks):
    run = mprun("runs", "--prune", "0s", **without_locks)
    assert run.code == 0, run.stderr
    return run.stdout, run.stderr


def test_a_run_that_is_active_is_listed_and_stopped_and_not_removed(tmp_path, without_locks, active_run):
    engine = active_run().engine
    directory = newest_run(tmp_path / ".mprun")
    assert prune(without_locks) == ("removed 0 runs, 0B\n", "")
    assert " running " in mprun("runs", **without_locks).stdout
    following = mprun("-q", "job_next.yaml", **without_locks)
    assert (following.code, following.stderr) == (0, "")
    resumed = mprun("resume", directory.run_id, **without_locks)
    assert resumed.code == 2
    stopped = mprun("stop", **without_locks)
    assert (stopped.code, engine.wait(20)) == (0, 143), stopped.stderr
    assert not os.path.lexists(pidfile(directory))


def test_a_killed_run_is_recovered_if_its_pidfile_shows_that_it_has_ended(without_locks, killed_run):
    assert "interrupted" in mprun("runs", **without_locks).stdout
    following = mprun("-q", "job_next.yaml", **without_locks)
    assert following.stderr.startswith(f"warning: run {killed_run.run_id} was interrupted")
    assert read_events(killed_run.events)[-1]["event"] == "run_finished"
    assert prune(without_locks)[0].startswith("removed 2 runs, ")


@pytest.mark.parametrize("pid", ["the engine's", "of another namespace", "by an older mprun", "no pidfile"])
def test_a_run_without_an_end_is_removed_only_if_it_is_certain(without_locks, killed_run, pid):
    path = pidfile(killed_run)
    content = os.readlink(path)
    os.unlink(path)
    before, _, _ = content.rpartition(" ")
    if pid != "no pidfile":
        kept = {"the engine's": content, "of another namespace": f"{before} 0:0", "by an older mprun": before}
        os.symlink(kept[pid], path)
    stdout, stderr = prune(without_locks)
    if pid == "the engine's":
        assert (stdout.startswith("removed 1 run, "), stderr) == (True, "")
        return
    assert os.path.exists(killed_run.events)
    if pid == "no pidfile":
        assert stderr == f"warning: kept {killed_run.run_id}: {WITHOUT}\n"
    length = os.path.getsize(killed_run.events)
    assert mprun("-q", "job_next.yaml", **without_locks).stderr == ""
    assert os.path.getsize(killed_run.events) == length


def test_a_forged_pidfile_has_no_process_stopped(without_locks, killed_run):
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        path = pidfile(killed_run)
        _, _, rest = os.readlink(path).split(" ", 2)
        os.unlink(path)
        os.symlink(f"{stranger.pid} {procfs.start_ticks(stranger.pid)} {rest}", path)
        stopped = mprun("stop", **without_locks)
        assert stopped.code != 0
        assert stopped.stderr.startswith("error: ")
        mprun("-q", "job_next.yaml", **without_locks)
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGKILL)
        stranger.wait()


def test_a_run_that_is_killed_while_it_imports_is_removed(tmp_path, without_locks, active_run):
    write(tmp_path, work="import signal\nopen('running', 'w').close()\nsignal.pause()\n")

    run = active_run()
    runs = tmp_path / ".mprun" / "runs"
    (run_id,) = os.listdir(runs)
    assert mprun("-q", "job_next.yaml", **without_locks).stderr == ""
    assert run_id in os.listdir(runs)
    run.kill_both()
    assert f"run {run_id} was interrupted" in mprun("-q", "job_next.yaml", **without_locks).stderr
    assert run_id not in os.listdir(runs)

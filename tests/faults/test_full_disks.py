"""Disks that become full during a run: that of the record, of a task's log, or of both."""

from __future__ import annotations

import os
import resource
import subprocess
import textwrap
from pathlib import Path

import pytest
from support.records import read
from support.runs import (
    START_METHODS,
    TIMEOUT,
    alive,
    eventually,
    finish,
    mprun,
    newest_run,
    recorded_starts,
    start,
    survivors,
    write,
)

from mprun.record.reader import read_lines

WORK = """\
    import os, signal, time

    def wait_for(*names):
        while not all(map(os.path.exists, names)):
            time.sleep(0.005)

    def be_gentle(*awaited):
        def end(*_):
            wait_for(*awaited)
            open("gentle was asked", "w").close()
            os._exit(0)
        signal.signal(signal.SIGTERM, end)
        open("gentle", "w").close()
        while True:
            signal.pause()

    def ignore_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("ignores_sigterm", "w").close()
        while True:
            signal.pause()

    def come():
        open("it came", "w").close()

    def flood():
        try:
            while True:
                print("x" * 999)
        finally:
            open("flooded", "w").close()
"""
JOB = """\
    tasks:
    - {name: quick, target: 'work:wait_for', args: [end quick]}
    - {name: gentle, target: 'work:be_gentle', args: [%s]}
    - {name: ignores_sigterm, target: 'work:ignore_sigterm', stop: {grace: 300ms}}
    - {name: next, target: 'work:come', depends_on: {gentle: finished}}
    - {name: again, target: 'work:come', retry: 3, depends_on: {ignores_sigterm: finished}}
"""


def limit_files(pid, size):
    """Let a process write no file beyond this size: it gets EFBIG, where a full disk gives ENOSPC."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Filled:
    """A run whose record can no longer grow when one of its tasks ends."""

    def __init__(self, directory, *awaited, size=0):
        write(directory, work=WORK, job=JOB % ", ".join(awaited))
        self.state_dir = directory / ".mprun"
        self.engine = start("-v", "job.yaml", cwd=directory)
        eventually(lambda: (directory / "gentle").exists() and (directory / "ignores_sigterm").exists())
        eventually(lambda: len(self.started()) == 3)
        self.record = Path(newest_run(self.state_dir).events)
        self.before = self.record.read_bytes()
        limit_files(self.engine.pid, len(self.before) + size)
        (directory / "end quick").touch()

    def started(self):
        return [event["pid"] for event in recorded_starts(self.state_dir)]

    def finish(self):
        _, stderr = self.engine.communicate(timeout=TIMEOUT)
        return self.engine.returncode, stderr.decode()


@pytest.mark.parametrize("size", [0, 10])
def test_a_record_that_cannot_grow_ends_the_run_in_order(tmp_path, size):
    run = Filled(tmp_path, size=size)
    pids = run.started()
    code, stderr = run.finish()
    assert code == 3
    assert stderr.splitlines()[-1] == "error: the record cannot be written: File too large"
    assert "Traceback" not in stderr
    # No new task was started, and running tasks got their stop signal before they were killed.
    assert not (tmp_path / "it came").exists()
    assert (tmp_path / "gentle was asked").exists()
    assert not any(map(alive, pids))
    # Everything that was shown is in the record.
    assert run.record.read_bytes()[: len(run.before)] == run.before
    assert len(run.record.read_bytes()) == len(run.before) + size
    assert "exit   " not in stderr
    code, shown, stderr = read(tmp_path, "show")
    assert (code, "interrupted: mprun itself was killed" in shown) == (0, True)
    assert ("line 6 is torn, left out" in stderr) == bool(size)


@pytest.mark.parametrize("size", [0, 10])
def test_a_disk_that_has_room_again_gets_the_whole_record(tmp_path, size):
    run = Filled(tmp_path, "there is room", size=size)
    pids = run.started()
    # By then the engine has noticed that it cannot write, and has stopped all tasks.
    eventually(lambda: not alive(pids[2]))
    limit_files(run.engine.pid, resource.RLIM_INFINITY)
    (tmp_path / "there is room").touch()
    ended = finish(run.engine, run.state_dir)
    assert ended.code == 3
    assert {e["task"]: (e["outcome"], e["reason"]) for e in ended.of("task_finished")} == {
        "quick": ("succeeded", ""),
        "gentle": ("stopped", "record_write_failed"),
        "ignores_sigterm": ("stopped", "record_write_failed"),
        "next": ("cancelled", "record_write_failed"),
        "again": ("cancelled", "record_write_failed"),
    }
    finished = ended.events[-1]
    assert (finished["event"], finished["exit_code"]) == ("run_finished", 3)
    assert finished["reason"] == "the record cannot be written: File too large"
    assert "the record cannot be written: File too large" in ended.stderr
    assert survivors(ended.events) == []


# ---- a small file system

FLOODS = """\
    tasks:
    - {name: flood, target: 'work:flood', timeout: 20s}
    - {name: beside, target: 'work:be_gentle'}
    - {name: end, target: 'os:getpid', depends_on: {flood: finished}}
"""


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a small file system on a directory."""
    mounted = []

    def mount(directory, size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(directory)]
        if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
            pytest.skip("no file system can be mounted here")
        mounted.append(directory)

    yield mount
    mounted += [path.read_text() for path in tmp_path.glob("mounted")]
    for directory in mounted:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


# The launcher holds the directory of the logs open, so that nothing that is mounted there later has effect.
SMALL_LOGS = """
    import os, subprocess
    mkdir = os.mkdir

    def mkdir_and_mount(path, *mode, dir_fd=None):
        mkdir(path, *mode, dir_fd=dir_fd)
        if os.path.basename(path) == "logs":
            directory = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path) if dir_fd else path
            open("mounted", "w").write(directory)
            options = "size=100k,mode=0700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", directory], check=True)

    os.mkdir = mkdir_and_mount
    """


def test_a_task_that_fills_the_disk_of_its_log_fails_and_the_run_continues(tmp_path, small_disk):
    """The logs are in a small file system of their own."""
    job = """
        tasks:
          - {name: flood, target: 'work:flood'}
          - {name: last, command: ['true'], depends_on: {flood: finished}}
        """
    write(tmp_path, work=WORK, sitecustomize=SMALL_LOGS, job=job)
    # Is skipped where nothing can be mounted.
    (tmp_path / "probe").mkdir()
    small_disk(tmp_path / "probe", "100k")
    run = mprun("job.yaml", "--output", "none", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (run.code, run.outcome("flood"), run.outcome("last")) == (1, "failed", "succeeded")
    error = {"type": "OSError", "message": "[Errno 28] No space left on device"}
    assert run.one("task_exited", "flood")["error"] == error
    assert "flood failed: exit 1 (OSError: [Errno 28] No space left on device)" in run.stderr, run.stderr
    assert len(run.log("flood")) > 50_000
    assert run.events[-1]["counts"] == {"succeeded": 1, "failed": 1}


def test_a_disk_under_everything_that_is_full_ends_the_run_with_what_was_recorded(tmp_path, small_disk):
    state_dir = tmp_path / "state"
    state_dir.mkdir(0o700)
    small_disk(state_dir, "64k")
    more = "".join(f"- {{name: more{'e' * 80}{n}, target: 'os:getpid'}}\n" for n in range(20))
    write(
        tmp_path, work=WORK, job=textwrap.dedent(FLOODS).replace("- {name: beside", more + "- {name: beside")
    )
    code, _, stderr = read(tmp_path, "job.yaml", "--output", "none", "--state-dir", state_dir)
    assert (code, "Traceback" in stderr) == (3, False)
    assert stderr.endswith("error: the record cannot be written: No space left on device\n")
    whole = [event for event in read_lines(newest_run(state_dir)) if isinstance(event, dict)]
    assert "task_started" in {event["event"] for event in whole}
    assert survivors(whole) == []
    code, shown, stderr = read(tmp_path, "show", "--state-dir", state_dir)
    assert (code, stderr.count("is torn, left out")) == (0, 1)
    assert "interrupted: mprun itself was killed" in shown


def test_a_run_on_a_full_disk_starts_nothing(tmp_path, small_disk):
    state_dir = tmp_path / "state"
    state_dir.mkdir(0o700)
    small_disk(state_dir, "4k")
    (state_dir / "full").write_bytes(b"x" * 4096)
    write(tmp_path, work=WORK, job="tasks: [{target: 'work:come'}]\n")
    code, _, stderr = read(tmp_path, "job.yaml", "--state-dir", state_dir)
    assert (code, stderr) == (3, "error: the record cannot be written: No space left on device\n")
    assert not (tmp_path / "it came").exists()


# ---- a file that cannot grow, without a file system


@pytest.mark.parametrize("method", START_METHODS)
def test_output_that_cannot_be_written_is_the_tasks_own_error(tmp_path, method):
    write(
        tmp_path,
        work="""\
            import os, resource
            def fill(line, end):
                resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
                print(line)
                print("y" * 8000, end=end)
        """,
        job="""\
            tasks:
            - {name: whole, target: 'work:fill', args: [one, "\\n"]}
            - {name: torn, target: 'work:fill', args: [one, ""]}
            - {name: beside, command: [echo, heard]}
        """,
    )
    run = mprun("job.yaml", "--start-method", method, cwd=tmp_path)
    assert (run.code, run.outcome("beside")) == (1, "succeeded")
    assert run.log("whole") == run.log("torn") == b"one\n" + b"y" * 3996
    error = {"type": "OSError", "message": "[Errno 27] File too large"}
    for task in ("whole", "torn"):
        # A spawned Python exits with 120 if it cannot write its buffers.
        exited = run.one("task_exited", task)
        assert (exited["exit_code"], exited["error"]) == (120 if method == "spawn" else 1, error)
        assert run.outcome(task) == "failed"

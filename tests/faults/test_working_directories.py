"""A working directory that is removed, moved or out of reach, before a run and during it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

import pytest
from support.runs import environment, mprun, side_by_side, write

# From <linux/sched.h>.
CLONE_NEWNS = 0x20000
SAID = "error: the working directory was removed or cannot be reached; change to another one with `cd`\n"
WORK = """\
    import os, shutil
    from pathlib import Path

    def note():
        Path(__file__).with_name("ran").touch()

    def remove():
        shutil.rmtree(os.getcwd())

    def move(to):
        os.rename(os.getcwd(), to)
"""


def leave_removed():
    """In a new process: its working directory is removed."""
    path = f"removed-{os.getpid()}"
    os.mkdir(path)
    os.chdir(path)
    os.rmdir(f"../{path}")


COMMANDS = {
    "a job": ["{files}/job.yaml"],
    "a job, with its record elsewhere": ["{files}/job.yaml", "--state-dir", "{state}"],
    "a job file beside it": ["job.yaml"],
    "as JSON": ["--json", "{files}/job.yaml"],
    "dry run": ["--dry-run", "{files}/job.yaml"],
    "resume": ["resume", "--rerun", "note", "--state-dir", "{state}"],
    "plan": ["plan", "{files}/job.yaml"],
    "validate": ["validate", "job.yaml"],
    "init": ["init"],
    "export": ["export", "--junit", "-"],
    **{
        name: name.split()
        for name in ("runs", "runs --prune 1d", "show", "tree", "logs", "logs -f note", "stop", "resume")
    },
    **{name: name.split() for name in ("pack", "report", "result note", "flaky", "compare")},
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A directory with a job file, and the state directory of a run of it."""
    files = tmp_path_factory.mktemp("files")
    write(files, work=WORK, job="tasks: [{name: note, target: 'work:note'}]\n")
    assert mprun("-q", "job.yaml", cwd=files).code == 0
    (files / "ran").unlink()
    return files


def test_every_command_names_a_working_directory_that_was_removed(tmp_path, earlier):
    def call(name):
        words = [word.format(files=earlier, state=earlier / ".mprun") for word in COMMANDS[name]]
        return mprun(*words, cwd=tmp_path, preexec_fn=leave_removed)

    for name, run in zip(COMMANDS, side_by_side(call, COMMANDS), strict=True):
        stderr = run.stderr
        if name == "as JSON":
            stderr = f"error: {json.loads(stderr)['error']}\n"
        assert (name, run.code, run.stdout, stderr) == (name, 2, "", SAID)
    assert not (earlier / "ran").exists()
    assert os.listdir(earlier / ".mprun" / "runs") == [mprun("runs", cwd=earlier).directory.run_id]


def test_commands_that_need_none_work_in_a_working_directory_that_was_removed(tmp_path, earlier):
    for words in (
        ("validate", earlier / "job.yaml"),
        *(
            (name, "--state-dir", earlier / ".mprun")
            for name in ("show", "tree", "logs", "runs", "show --json")
        ),
    ):
        run = mprun(*str(words[0]).split(), *words[1:], cwd=tmp_path, preexec_fn=leave_removed)
        assert (run.code, run.stderr) == (0, ""), words


PROGRAM = """\
import sys
from mprun import UsageError, load_job, run_job

job = load_job(sys.argv[1])
import os
os.mkdir("removed"), os.chdir("removed"), os.rmdir("../removed")
for call in (
    lambda: load_job("job.yaml"),
    lambda: load_job({"tasks": [{"target": "os:getpid"}]}),
    lambda: run_job(job),
    lambda: run_job(job, state_dir=sys.argv[2]),
    lambda: run_job(job, dry_run=True),
):
    try:
        call()
    except UsageError as error:
        print("error:", error)
"""


def test_a_program_gets_an_error_that_says_so(tmp_path, earlier):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, earlier / "job.yaml", earlier / ".mprun"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (5 * SAID, "")
    assert not (earlier / "ran").exists()


JOB = """\
    tasks:
    - {name: remove, target: 'work:remove'}
    - {name: service, command: sleep 60, daemon: true, ready: {file: /}, depends_on: remove}
    - {name: captured, command: 'echo "[1]"', capture: json, depends_on: service}
    - {name: each, target: 'builtins:abs', args: ['${item}'], foreach: '${tasks.captured.result}'}
    - {name: spawned, target: 'os:getpid', start_method: spawn, depends_on: each}
"""


@pytest.mark.parametrize("options", [(), ("--ci", "github"), ("--report", "{out}"), ("--json",)])
def test_a_run_whose_working_directory_a_task_removes_comes_to_its_end(tmp_path, options):
    here = tmp_path / "here"
    here.mkdir()
    write(here, work=WORK, job=JOB)
    report = tmp_path / "report.html"
    words = [word.format(out=report) for word in options]
    run = mprun("job.yaml", *words, cwd=here, state_dir=tmp_path / "state")
    assert run.code == 1, run.stderr
    outcomes = {event["task"]: event["outcome"] for event in run.of("task_finished")}
    assert outcomes.pop("spawned") == "failed"
    assert outcomes.pop("service") == "stopped"
    assert {*outcomes.values()} == {"succeeded"}, outcomes
    reason = run.one("task_finished", "spawned")["reason"]
    assert reason == "could not be started: the working directory was removed"
    assert "internal error" not in run.stderr
    assert f"resume: mprun resume {run.directory.run_id} --state-dir {tmp_path / 'state'}\n" in run.stderr
    if "github" in options:
        assert "::error file=job.yaml,line=6,title=spawned::" in run.stderr
    assert report.exists() == ("--report" in options)


def test_a_run_whose_working_directory_a_task_moves_is_recorded_where_that_is(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write(
        here,
        work=WORK,
        job=f"""\
            tasks:
            - {{name: move, target: 'work:move', args: ['{there}']}}
            - {{name: command, command: 'true', depends_on: move}}
            - {{name: spawned, target: 'os:getcwd', start_method: spawn, depends_on: move}}
            - {{name: served, target: 'os:getcwd', start_method: forkserver, depends_on: move}}
        """,
    )
    run = mprun("job.yaml", cwd=here, state_dir=tmp_path / "state")
    assert (run.code, run.outcome("command")) == (0, "succeeded"), run.stderr
    assert (run.result("spawned"), run.result("served")) == (str(there), str(there))


def put_out_of_reach(around):
    """In a new process: a directory has a path, but neither this process nor its children can use it."""
    if os.geteuid():
        around.chmod(0)
        return
    # Root may use every directory, so another one is mounted above it.
    assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "covering", around], check=True)


def can_put_out_of_reach():
    return os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


@pytest.mark.skipif(not can_put_out_of_reach(), reason="nothing can be mounted here")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_tasks_run_in_a_working_directory_that_they_cannot_reach_by_its_path(tmp_path, method):
    around, here = tmp_path / "around", tmp_path / "around" / "here"
    here.mkdir(parents=True)
    write(tmp_path, job=f"start_method: {method}\ntasks: [{{target: 'os:getpid'}}]\n")
    try:
        run = mprun(
            tmp_path / "job.yaml",
            cwd=here,
            state_dir=tmp_path / "state",
            preexec_fn=lambda: put_out_of_reach(around),
        )
    finally:
        around.chmod(0o700)
    assert (run.code, run.outcome("Process-1")) == (0, "succeeded"), run.stderr

"""A file system does not answer any more: only the process of the task that needs it waits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from support import silent_mount
from support.runs import environment, newest_run, read_events

if sys.platform != "linux":
    pytest.skip("FUSE, as Linux has it", allow_module_level=True)

# A launcher that waits is killed then, in seconds; others need a tenth of it.
PATIENCE = 30
# Its own programs are not looked up there: it would wait for them.
SILENCE = "PATH=/usr/bin:/bin; touch mounted.silence; until [ -e mounted.silent ]; do sleep 0.01; done"

ENDS = {"before": "succeeded", "silence": "succeeded", "waits": "timed_out", "meanwhile": "succeeded"}


def outcomes(directory, program, *path, silence=SILENCE):
    """Those of a program before and after `mounted` is silent, and of other tasks."""
    tasks = [
        {"name": "before", "command": [program]},
        {"name": "silence", "command": silence, "depends_on": "before"},
        {"name": "waits", "command": [program], "depends_on": "silence", "timeout": "1s"},
        {"name": "meanwhile", "command": ["/bin/sh", "-c", ":"], "depends_on": {"waits": "started"}},
    ]
    return outcomes_of(directory, tasks, *path)


def outcomes_of(directory, tasks, *path):
    """Those of tasks whose PATH begins with these directories, which may have `mounted` among them."""
    (directory / "job.json").write_text(json.dumps({"tasks": tasks}))
    (directory / "mounted").mkdir()
    mprun = [sys.executable, "-m", "mprun", "-q", "job.json"]
    process = subprocess.Popen(
        [sys.executable, silent_mount.__file__, directory / "mounted", *mprun],
        cwd=directory,
        env=environment(PATH=":".join([*(str(directory / each) for each in path), os.environ["PATH"]])),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        code = process.wait(PATIENCE)
    finally:
        # From then on no one waits any more.
        process.kill()
        process.wait()
    if code == silent_mount.NOT_POSSIBLE:
        pytest.skip("only root can mount FUSE here")
    events = read_events(newest_run(directory / ".mprun").events)
    return {event["task"]: event["outcome"] for event in events if event["event"] == "task_finished"}


def test_a_directory_of_path_may_be_silent_from_the_start(tmp_path):
    (tmp_path / "mounted.silence").touch()
    tasks = [
        {"name": "shell", "command": "echo 1"},
        {"name": "waits", "command": ["true"], "timeout": "1s"},
        {"name": "last", "command": ["/bin/echo"], "depends_on": "shell"},
    ]
    found = outcomes_of(tmp_path, tasks, "mounted")
    assert found == {"shell": "succeeded", "waits": "timed_out", "last": "succeeded"}


@pytest.mark.parametrize("path", ["mounted", "link"])
def test_a_directory_of_path_may_become_silent(tmp_path, path):
    (tmp_path / "link").symlink_to("mounted")
    assert outcomes(tmp_path, "true", path) == ENDS


def test_the_directories_after_that_of_a_program_may_become_silent(tmp_path):
    """The program is removed, and then looked for there."""
    (tmp_path / "local").mkdir()
    shutil.copy("/bin/true", tmp_path / "local" / "tool")
    assert outcomes(tmp_path, "tool", "local", "mounted", silence=f"rm local/tool; {SILENCE}") == ENDS


@pytest.mark.parametrize("depth", [1, 2])
def test_the_interpreter_of_a_script_may_become_silent(tmp_path, depth):
    """Also that of an interpreter which is a script."""
    interpreter = tmp_path / "mounted" / "program"
    for number in range(depth):
        script = tmp_path / f"script{number}"
        script.write_text(f"#!{interpreter}\n")
        script.chmod(0o755)
        interpreter = script
    assert outcomes(tmp_path, str(interpreter)) == ENDS


def test_a_program_may_become_silent(tmp_path):
    assert outcomes(tmp_path, "program", "mounted") == ENDS

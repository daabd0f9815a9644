"""Handmade records: what an older, a newer or a corrupt one may contain."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from mprun.record.state_files import Folder, StateFile
from support.runs import TIMEOUT, start

STAMP = {"time": "2026-01-01T12:00:00.000000Z", "run": "20260101-120000.000-abcd"}
STARTED = {
    "event": "run_started",
    **STAMP,
    "format": 2,
    "job": "old",
    "file": "/old.yaml",
    "host": "h",
    "pid": 1,
    "main_pid": 2,
    "main_name": "MainProcess",
    "cpus": 2,
    "tasks": 1,
    "at_once": 1,
    "max_parallel": 32,
    "mode": "parallel",
    "start_method": "fork",
    "boot_id": None,
    "python": "3.11.0",
    "params": {},
    "options": {},
    "files": [],
    "resumed_from": None,
}
FINISHED = {
    "event": "task_finished",
    **STAMP,
    "task": "a",
    "outcome": "succeeded",
    "attempts": 1,
    "reason": "",
}


def started(task, attempt=1, pid=100, ppid=2, **more):
    """An attempt of a task has a process."""
    facts = {"start_ticks": 1, "host": "h", "daemon": False, "target": "m:f", **more}
    return {
        "event": "task_started",
        **STAMP,
        "task": task,
        "attempt": attempt,
        "pid": pid,
        "ppid": ppid,
        **facts,
    }


def exited(task, attempt=1, pid=100, exit_code=0, **more):
    """The process of an attempt has ended."""
    facts = {"signal": None, "duration": 1.5, "cpu": 0.25, "max_rss": 11_000_000, "threads": 1}
    facts |= {"error": None, "orphans": [], **more}
    return {
        "event": "task_exited",
        **STAMP,
        "task": task,
        "attempt": attempt,
        "pid": pid,
        "exit_code": exit_code,
        **facts,
    }


def ended(outcome="succeeded", exit_code=0, **more):
    """The run has finished."""
    facts = {"duration": 2.0, "counts": {"succeeded": 1}, **more}
    return {"event": "run_finished", **STAMP, "outcome": outcome, "exit_code": exit_code, **facts}


def record(directory, lines, name=STAMP["run"]):
    """Write a record of text lines or objects to the state directory in `directory`; returns the run's id."""
    run = Path(directory, ".mprun", "runs", name)
    (run / "logs").mkdir(parents=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (run / "events.jsonl").write_text("\n".join(texts) + "\n")
    return name


def files_at(path):
    """The result files of this path, as `mprun.launcher.result_files` takes them."""
    return lambda: os.open(os.path.dirname(path), os.O_RDONLY), os.path.basename(path)


def state_file(path):
    """A file as mprun opens it below a state directory."""
    return StateFile(Folder(os.path.dirname(os.path.abspath(path))), os.path.basename(path))


class Read(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    stdout: str
    stderr: str


def read(directory, *arguments, **options):
    """Run `mprun ARGUMENTS` on a record that the test itself may not be able to read."""
    process = start(*arguments, cwd=directory, **options)
    output, stderr = process.communicate(timeout=TIMEOUT)
    assert b"Traceback" not in stderr
    return Read(process.returncode, output.decode(), stderr.decode())

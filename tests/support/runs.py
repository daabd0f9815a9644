"""Runs the program as a user does, in a directory of the test's own, and reads what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_METHODS = ("fork", "forkserver", "spawn")
# Nothing here takes longer; what does has hung.
PATIENCE = 50


class Run:
    """What one command did: its exit code, its output, and the events of the run it made."""

    def __init__(self, process, stdout, stderr, events):
        self.code = process.returncode
        self.stdout = stdout
        self.stderr = stderr
        self.events = events

    def of(self, kind, task=None):
        """The events of a kind, of one task where one is named."""
        return [e for e in self.events if e["event"] == kind and task in (None, e.get("task"))]

    def one(self, kind, task=None):
        (event,) = self.of(kind, task)
        return event

    def result(self, task):
        return self.one("task_finished", task)["result"]

    def outcome(self, task):
        return self.one("task_finished", task)["outcome"]


def environment(**more):
    """The environment without what would change what mprun shows."""
    dropped = ("MPRUN_", "NO_COLOR", "FORCE_COLOR")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, **more}


def start(*arguments, cwd, **options):
    """Start `mprun ARGUMENTS` and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "mprun", *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        env=environment(**options.pop("env", {})),
        **options,
    )


def mprun(*arguments, cwd, **options):
    """Run `mprun ARGUMENTS` to its end; the events are those of the newest run in `cwd`."""
    process = start(*arguments, cwd=cwd, **options)
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    stdout, stderr = ((data or b"").decode("utf-8", "backslashreplace") for data in (stdout, stderr))
    return Run(process, stdout, stderr, newest_events(cwd))


def newest_events(cwd):
    runs = sorted(Path(cwd, ".mprun", "runs").glob("*/events.jsonl"))
    return read_events(runs[-1]) if runs else []


def read_events(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write(directory, **files):
    """Write files into a directory: `job="tasks: …"` is job.yaml, `work="def …"` is work.py."""
    for name, text in files.items():
        suffix = ".yaml" if name.startswith("job") else ".py"
        Path(directory, name + suffix).write_text(textwrap.dedent(text), encoding="utf-8")

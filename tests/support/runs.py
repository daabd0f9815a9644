"""Runs the command as a user does, in a directory of the test, and reads the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mprun.linux import procfs
from mprun.record.state_dir import RunDirectory
from support.logs import read_log

ROOT = Path(__file__).parents[2]
START_METHODS = ("fork", "forkserver", "spawn")
# The variables that name an executor; `test_hosts_model` sets them.
EXECUTOR: dict[str, str] = {}
# A command that takes longer has hung, in seconds.
TIMEOUT = 50


class Run:
    """The exit code and the output of one command, and the run that it made.

    `directory` is that of the newest run, None if there is none; `events` is its record.
    """

    def __init__(self, process, stdout, stderr, state_dir):
        self.code = process.returncode
        self.stdout = stdout
        self.stderr = stderr
        self.directory = newest_run(state_dir)
        self.events = read_events(self.directory.events) if self.directory else []

    def of(self, kind, task=None):
        """The events of a kind, of all tasks or of one."""
        return [e for e in self.events if e["event"] == kind and task in (None, e.get("task"))]

    def one(self, kind, task=None):
        (event,) = self.of(kind, task)
        return event

    def result(self, task):
        return self.one("task_finished", task)["result"]

    def outcome(self, task):
        return self.one("task_finished", task)["outcome"]

    def log(self, task, attempt=1):
        """The bytes of an attempt's log."""
        return read_log(Path(self.directory.log(task, attempt)))

    def printed(self, task):
        """The lines of a task, or of `main`, on stdout, without their prefix."""
        lines = (line.partition(" | ") for line in self.stdout.splitlines())
        return [text for name, _, text in lines if name.rstrip() == task]

    def place(self, kind, task):
        """The index in the record, from 0, of the only event of this kind and task."""
        return self.events.index(self.one(kind, task))


def environment(**more):
    """The environment without the variables that change the output of mprun."""
    dropped = ("MPRUN_", "NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, **EXECUTOR, **more}


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


def mprun(*arguments, cwd, state_dir=None, timeout=TIMEOUT, **options):
    """Run `mprun ARGUMENTS` to its end; the run is the newest of `state_dir`, or of `cwd`."""
    if state_dir is not None:
        arguments = (*arguments, "--state-dir", state_dir)
    process = start(*arguments, cwd=cwd, **options)
    return finish(process, state_dir or Path(cwd, ".mprun"), timeout)


def complaint(stderr):
    """What a command wrote to stderr; one error as JSON is as without `--json`."""
    return f"error: {json.loads(stderr)['error']}\n" if stderr.startswith("{") else stderr


def side_by_side(work, items):
    """The results of `work` for each item, computed in threads, because a command mostly waits."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, items))


def finish(process, state_dir, timeout=TIMEOUT):
    """Wait for a command's end; the run is the newest of `state_dir`."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException:
        # Also if the timeout of pytest comes first: nothing is left running.
        process.kill()
        process.communicate()
        raise
    stdout, stderr = ((data or b"").decode("utf-8", "backslashreplace") for data in (stdout, stderr))
    return Run(process, stdout, stderr, state_dir)


def all_runs(state_dir):
    """The directories of all runs that have a record, oldest first."""
    return [RunDirectory(str(path.parent)) for path in sorted(Path(state_dir, "runs").glob("*/events.jsonl"))]


def newest_run(state_dir):
    """The directory of the newest run that has a record; None if there is none."""
    return next(reversed(all_runs(state_dir)), None)


def read_events(path):
    """The events of a run that has ended."""
    # Bytes have no line breaks but these: a result may contain U+2028.
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def events_so_far(state_dir):
    """The events of the newest run, which may be writing: who reads then may see a part of its last line."""
    run = newest_run(state_dir)
    return complete_lines(Path(run.events)) if run else []


def recorded_starts(state_dir):
    """The starts of tasks in the record of the newest run: a task can run before that has its start."""
    return [event for event in events_so_far(state_dir) if event["event"] == "task_started"]


def knows_start(state_dir, pid):
    """Whether the record of the newest run has the start of this process."""
    return any(event["pid"] == pid for event in recorded_starts(state_dir))


def complete_lines(path):
    """The objects of a file's complete lines, without torn ones."""
    found = []
    if not path.exists():
        return found
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def write(directory, **files):
    """Write files into a directory: `job="tasks: …"` is job.yaml, `work="def …"` is work.py."""
    for name, text in files.items():
        suffix = ".yaml" if name.startswith("job") else ".py"
        Path(directory, name + suffix).write_text(textwrap.dedent(text), encoding="utf-8")


def eventually(fact, seconds=10):
    """Wait until `fact()` is true, and return its value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < end, f"not true after {seconds} s: {fact}"
        time.sleep(0.005)
    return found


def written(path, seconds=10):
    """The text of a file once it has some; fails after `seconds`. Who writes makes the file before."""
    return eventually(lambda: path.exists() and path.read_text(), seconds)


def alive(pid, start_ticks=None):
    """Whether a process is alive, and has this start time; a zombie is not alive."""
    stat = procfs.read_stat(pid)
    return stat is not None and stat.state not in "ZX" and start_ticks in (None, stat.start_ticks)


def survivors(events):
    """The pids of the tasks in a record that are still alive, checked by their start times."""
    started = [event for event in events if event["event"] == "task_started"]
    return [event["pid"] for event in started if alive(event["pid"], event["start_ticks"])]

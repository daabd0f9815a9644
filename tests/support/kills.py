"""Rounds in which the engine, the launcher or both of a run are killed at a random moment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from mprun.linux import cgroup_end
from support.crash_targets import CrashTarget, wait_for_ends, write_crash_job
from support.runs import TIMEOUT, alive, all_runs, complete_lines, mprun

# A process that is alive after so many seconds is late; one that is alive after MAX_SECONDS is a
# survivor, however busy the machine is.
BOUND = 1.0
MAX_SECONDS = 10.0
WHO = ("engine", "launcher", "both")
# How many tasks of the job start, including the one that waits for another.
STARTS = 8


class Kills:
    """Rounds of one start method in one directory; the next start in it kills what they have left."""

    def __init__(self, directory, method):
        write_crash_job(directory, job_next="tasks: [{target: 'os:getpid'}]\n")
        self.directory = directory
        self.method = method
        self._targets = []

    def play(self, who, random):
        """Kill `who` at a random moment: the seconds until no process was left, and the defects.

        After a kill of both, only the tasks must be gone; processes that have left their sessions
        are killed by the next start.
        """
        target = CrashTarget(self.directory, "job.yaml", "--start-method", self.method)
        self._targets.append(target)
        try:
            return self._kill(target, who, random)
        except BaseException:
            target.clean()
            raise

    def _kill(self, target, who, random):
        pids = [] if who == "engine" else [target.launcher()]
        pids += [] if who == "launcher" else [target.engine.pid]
        random.shuffle(pids)
        kill_at(random, target, pids)
        begun, starved = time.monotonic(), _seconds_without_processor()
        try:
            seconds = (
                _seconds_of_tasks(target, begun) if who == "both" else target.seconds_to_vanish(MAX_SECONDS)
            )
        except AssertionError as error:
            return time.monotonic() - begun, [("survivor", str(error))]
        starved = _seconds_without_processor() - starved
        target.engine.communicate(timeout=TIMEOUT)
        late = f"{seconds:.3f} s; the measuring thread waited {starved:.3f} s of them for a processor"
        return seconds, [("late", late)] * (seconds >= BOUND) + self._odd_end(target, who)

    def _odd_end(self, target, who):
        # 2 is possible if it was killed during an import, before there was a run: that is reported
        # as a failed import.
        lost = [3] if target.record() else [2, 3]
        allowed = {"engine": [-9], "launcher": lost, "both": [-9, *lost]}[who]
        code = target.engine.returncode
        return [] if code in allowed else [("exit code", f"{code} instead of {allowed}")]

    def close(self):
        """The defects that show what the next start has not cleaned up."""
        begun = time.monotonic()
        recovered = mprun("job_next.yaml", cwd=self.directory)
        left = [pid for target in self._targets for pid in target.survivors()]
        unclosed = os.listdir(self.directory / ".mprun" / "open")
        unclosed += filter(
            None, (cgroup_end.find(run.identity) for run in all_runs(self.directory / ".mprun"))
        )
        for target in self._targets:
            target.clean()
        if recovered.code or left or unclosed:
            seconds = time.monotonic() - begun
            return [
                (
                    "not recovered",
                    f"{recovered.code} {recovered.stderr} {left} {unclosed} after {seconds:.3f} s",
                )
            ]
        return []


def kill_at(random, target, pids):
    """Kill these at the same time, after a random number of tasks has started and a short time has passed.

    Thus the moments are as dense in a slow start as in a fast one.
    """
    pidfds = [os.pidfd_open(pid) for pid in pids]
    count = random.randrange(STARTS + 1)
    if count:
        target.until("task_started", count=count, seconds=TIMEOUT)
    time.sleep(random.uniform(0, 0.1))
    for pidfd in pidfds:
        # The engine may have ended by itself, because the other was killed first.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def _seconds_of_tasks(target, begun):
    path = target.record()
    tasks = [e["pid"] for e in complete_lines(path) if e["event"] == "task_started"] if path else []
    wait_for_ends(tasks, MAX_SECONDS)
    left = [pid for pid in tasks if alive(pid)]
    assert not left, left
    return time.monotonic() - begun


def _seconds_without_processor():
    """How long this thread has waited for a processor since it began: proc(5), schedstat."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9

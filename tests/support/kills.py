"""Rounds in which the engine, the launcher or both of a run are killed at a random moment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from support.runs import PATIENCE, alive, complete_lines, mprun
from support.victims import Victim, wait_for_ends, write_victim

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
        write_victim(directory, job_next="tasks: [{target: 'os:getpid'}]\n")
        self.directory = directory
        self.method = method
        self._victims = []

    def play(self, who, random):
        """Kill `who` at a random moment: the seconds until no process was left, and the defects.

        After a kill of both, only the tasks must be gone; processes that have left their sessions
        are killed by the next start.
        """
        victim = Victim(self.directory, "job.yaml", "--start-method", self.method)
        self._victims.append(victim)
        try:
            return self._kill(victim, who, random)
        except BaseException:
            victim.clean()
            raise

    def _kill(self, victim, who, random):
        pids = [] if who == "engine" else [victim.launcher()]
        pids += [] if who == "launcher" else [victim.engine.pid]
        random.shuffle(pids)
        kill_at(random, victim, pids)
        begun, starved = time.monotonic(), _seconds_without_processor()
        try:
            seconds = (
                _seconds_of_tasks(victim, begun) if who == "both" else victim.seconds_to_vanish(MAX_SECONDS)
            )
        except AssertionError as error:
            return time.monotonic() - begun, [("survivor", str(error))]
        starved = _seconds_without_processor() - starved
        victim.engine.communicate(timeout=PATIENCE)
        late = f"{seconds:.3f} s; the measuring thread waited {starved:.3f} s of them for a processor"
        return seconds, [("late", late)] * (seconds >= BOUND) + self._odd_end(victim, who)

    def _odd_end(self, victim, who):
        # 2 is possible if it was killed during an import, before there was a run: that is reported
        # as a failed import.
        lost = [3] if victim.record() else [2, 3]
        allowed = {"engine": [-9], "launcher": lost, "both": [-9, *lost]}[who]
        code = victim.engine.returncode
        return [] if code in allowed else [("exit code", f"{code} instead of {allowed}")]

    def close(self):
        """The defects that show what the next start has not cleaned up."""
        begun = time.monotonic()
        recovered = mprun("job_next.yaml", cwd=self.directory)
        left = [pid for victim in self._victims for pid in victim.survivors()]
        unclosed = os.listdir(self.directory / ".mprun" / "open")
        for victim in self._victims:
            victim.clean()
        if recovered.code or left or unclosed:
            seconds = time.monotonic() - begun
            return [
                (
                    "not recovered",
                    f"{recovered.code} {recovered.stderr} {left} {unclosed} after {seconds:.3f} s",
                )
            ]
        return []


def kill_at(random, victim, pids):
    """Kill these at the same time, after a random number of tasks has started and a short time has passed.

    Thus the moments are as dense in a slow start as in a fast one.
    """
    pidfds = [os.pidfd_open(pid) for pid in pids]
    count = random.randrange(STARTS + 1)
    if count:
        victim.until("task_started", count=count, seconds=PATIENCE)
    time.sleep(random.uniform(0, 0.1))
    for pidfd in pidfds:
        # The engine may have ended by itself, because the other was killed first.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def _seconds_of_tasks(victim, begun):
    path = victim.record()
    tasks = [e["pid"] for e in complete_lines(path) if e["event"] == "task_started"] if path else []
    wait_for_ends(tasks, MAX_SECONDS)
    left = [pid for pid in tasks if alive(pid)]
    assert not left, left
    return time.monotonic() - begun


def _seconds_without_processor():
    """How long this thread has waited for a processor since it began: proc(5), schedstat."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9

"""Rounds in which the engine, the launcher or both of a run are killed at a random moment."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from support.runs import PATIENCE, alive, complete_lines, mprun
from support.victims import Victim, wait_for_ends, write_victim

# Nobody may live longer than this after a kill, in seconds; who does is late, and who still
# lives after much longer than that is a survivor, however busy the machine.
BOUND = 1.0
FOR_GOOD = 10.0
WHO = ("engine", "launcher", "both")
# As many of the job's tasks as start, the one that waits for another among them.
STARTS = 8


class Kills:
    """Rounds of one start method in one directory, whose next start ends what they have left."""

    def __init__(self, directory, method):
        write_victim(directory, job_next="tasks: [{target: 'os:getpid'}]\n")
        self.directory = directory
        self.method = method
        self._victims = []

    def play(self, who, dice):
        """Kill `who` at a moment that the dice choose: the seconds until nobody was left, and the defects.

        After a kill of both it is the tasks that are to be gone; what has left their
        sessions waits for the next start.
        """
        victim = Victim(self.directory, "job.yaml", "--start-method", self.method)
        self._victims.append(victim)
        try:
            return self._kill(victim, who, dice)
        except BaseException:
            victim.clean()
            raise

    def _kill(self, victim, who, dice):
        pids = [] if who == "engine" else [victim.launcher()]
        pids += [] if who == "launcher" else [victim.engine.pid]
        dice.shuffle(pids)
        kill_at(dice, victim, pids)
        begun, starved = time.monotonic(), _seconds_without_processor()
        try:
            seconds = (
                _seconds_of_tasks(victim, begun) if who == "both" else victim.seconds_to_vanish(FOR_GOOD)
            )
        except AssertionError as error:
            return time.monotonic() - begun, [("survivor", str(error))]
        starved = _seconds_without_processor() - starved
        victim.engine.communicate(timeout=PATIENCE)
        late = f"{seconds:.3f} s; whoever measured waited {starved:.3f} s of them for a processor"
        return seconds, [("late", late)] * (seconds >= BOUND) + self._odd_end(victim, who)

    def _odd_end(self, victim, who):
        # 2 may be where it was killed while it imported, before there was a run: that is told as
        # an import that went wrong.
        lost = [3] if victim.record() else [2, 3]
        allowed = {"engine": [-9], "launcher": lost, "both": [-9, *lost]}[who]
        code = victim.engine.returncode
        return [] if code in allowed else [("exit code", f"{code} instead of {allowed}")]

    def close(self):
        """What the next start has not done of what they have left to it, as defects."""
        begun = time.monotonic()
        swept = mprun("job_next.yaml", cwd=self.directory)
        left = [pid for victim in self._victims for pid in victim.survivors()]
        unclosed = os.listdir(self.directory / ".mprun" / "open")
        for victim in self._victims:
            victim.clean()
        if swept.code or left or unclosed:
            seconds = time.monotonic() - begun
            return [("not swept", f"{swept.code} {swept.stderr} {left} {unclosed} after {seconds:.3f} s")]
        return []


def kill_at(dice, victim, pids):
    """Kill these in one moment: so many tasks have started as the dice say, and a little time has passed.

    So the moments lie as close during a slow start as during a fast one.
    """
    pidfds = [os.pidfd_open(pid) for pid in pids]
    count = dice.randrange(STARTS + 1)
    if count:
        victim.until("task_started", count=count, seconds=PATIENCE)
    time.sleep(dice.uniform(0, 0.1))
    for pidfd in pidfds:
        # The engine may have come to an end of its own, where the other was killed first.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def _seconds_of_tasks(victim, begun):
    path = victim.record()
    tasks = [e["pid"] for e in complete_lines(path) if e["event"] == "task_started"] if path else []
    wait_for_ends(tasks, FOR_GOOD)
    left = [pid for pid in tasks if alive(pid)]
    assert not left, left
    return time.monotonic() - begun


def _seconds_without_processor():
    """How long this thread has waited for a processor since it began: proc(5), schedstat."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9

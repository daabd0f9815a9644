"""The ways in which a random run is killed or its disk is full, and one round of each."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from random import Random

from mprun.failpoints import FAILPOINTS
from support.chaos import Round
from support.runs import eventually

# The failpoints at which a disk can be full.
ON_DISK = ("record.after", "record.before", "record.torn", "worker.result")
AT_FAILPOINTS = (*(f"{name}=kill" for name in sorted(FAILPOINTS)), *(f"{name}=enospc" for name in ON_DISK))
AT_RANDOM = ("engine", "launcher", "task", "both", "suspended engine")
# A spawned task costs ten times as much as a forked one, and takes the same paths.
METHODS = ("fork",) * 4 + ("forkserver",) * 3 + ("spawn",)
CASES = AT_FAILPOINTS + AT_RANDOM


def play(directory, case, seed):
    """One round: the engine's exit code, the seconds until no process was left, and the defects."""
    random = Random(f"{case} {seed}")
    method = random.choice(METHODS)
    failpoints = f"{case}:{_turn(case, random)}" if case in AT_FAILPOINTS else ""
    one = Round(directory, random, failpoints=failpoints, method=method)
    try:
        if case in AT_RANDOM:
            _kill(one, case, random)
        code = one.wait()
        seconds, defects = one.examine(both=case == "both")
        return code, seconds, [(f"{kind}, {method} {failpoints}", details) for kind, details in defects]
    finally:
        one.clean()


def _turn(case, random):
    once = case.startswith(("worker", "engine.finished"))
    return 1 if once else random.choice([1, 2, 3, random.randrange(1, 20)])


def _kill(one, who, random):
    """Kill a process of a run at a random moment, unless it is over by then.

    The moment is a random number of events after its beginning, and a little later: so it is as
    likely to be in a fast phase as in a slow one.
    """
    count = random.randrange(1, 4 * one.tasks)
    with contextlib.suppress(AssertionError):
        eventually(lambda: one.engine.poll() is not None or len(one.events()) >= count)
    time.sleep(random.uniform(0, 0.02))
    events = one.events()
    launcher = next((e["main_pid"] for e in events if e["event"] == "run_started"), None)
    if one.engine.poll() is not None or launcher is None:
        return
    if who == "suspended engine":
        one.engine.send_signal(signal.SIGTSTP)
        time.sleep(random.uniform(0, 0.1))
    pids = {
        "engine": [one.engine.pid],
        "suspended engine": [one.engine.pid],
        "launcher": [launcher],
        "both": [launcher, one.engine.pid],
        "task": _running(events, random),
    }[who]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _running(events, random):
    ended = {e["pid"] for e in events if e["event"] == "task_exited"}
    left = [e["pid"] for e in events if e["event"] == "task_started" and e["pid"] not in ended]
    return [random.choice(left)] if left else []

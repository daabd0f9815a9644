"""Random jobs, killed or out of disk at every failpoint and at random moments: what must hold, holds.

`--rounds N` goes N rounds for each case; each is replayed by its seed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time

import pytest
from support.chaos import Round
from support.runs import START_METHODS, eventually

from mprun.failpoints import PLACES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# Where a disk can be full: what else fails there is no failure of a disk.
ON_DISK = ("record.after", "record.before", "record.torn", "worker.result")
CASES = [f"{place}=kill" for place in sorted(PLACES)] + [f"{place}=enospc" for place in ON_DISK]
# By then most of the jobs are over.
LONGEST = 0.5


def report(name, figures):
    """Say what many rounds have shown (`pytest -s --rounds 100`)."""
    seconds, codes = zip(*figures, strict=True)
    hit = sum(code != 0 for code in codes)
    print(
        f"\n{name}: {len(codes)} rounds, {hit} not over before, longest {max(seconds) * 1000:.0f} ms", end=" "
    )


def examine(one, seed, found, *, both=False):
    """Add to `found` what does not hold of a round."""
    seconds = 0.0 if both else one.seconds_to_vanish()
    found += [(seed, kind, details) for kind, details in one.defects(both=both)]
    one.clean()
    return seconds, one.engine.returncode


@pytest.mark.parametrize("case", CASES)
def test_at_a_failpoint(tmp_path, case, rounds):
    found, figures = [], []
    for number in range(max(1, rounds // 2)):
        seed = f"{case} {number}"
        dice = random.Random(seed)
        turn = (
            1 if case.startswith(("worker", "engine.over")) else dice.choice([1, 2, 3, dice.randrange(1, 20)])
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        one = Round(folder, dice, failpoints=f"{case}:{turn}", method=method_of(dice))
        one.wait()
        figures.append(examine(one, f"{seed} turn {turn}", found))
    report(case, figures)
    assert found == []


def method_of(dice):
    return dice.choice(["fork", "fork", *START_METHODS])


@pytest.mark.parametrize("who", ["engine", "launcher", "task", "both", "suspended engine"])
def test_at_a_random_moment(tmp_path, who, rounds):
    found, figures = [], []
    for number in range(max(1, rounds // 2)):
        seed = f"{who} {number}"
        dice = random.Random(seed)
        folder = tmp_path / str(number)
        folder.mkdir()
        one = Round(folder, dice, method=method_of(dice))
        kill(one, who, dice)
        one.wait()
        figures.append(examine(one, seed, found, both=who == "both"))
    report(who, figures)
    assert found == []


def kill(one, who, dice):
    """Kill somebody of a run at a moment that the dice choose, unless it is over by then."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: one.events() or one.engine.poll() is not None)
    time.sleep(dice.uniform(0, LONGEST))
    events = one.events()
    launcher = next((e["launcher_pid"] for e in events if e["event"] == "run_started"), None)
    if one.engine.poll() is not None or launcher is None:
        return
    if who == "suspended engine":
        one.engine.send_signal(signal.SIGTSTP)
        time.sleep(dice.uniform(0, 0.1))
    pids = {
        "engine": [one.engine.pid],
        "suspended engine": [one.engine.pid],
        "launcher": [launcher],
        "both": [launcher, one.engine.pid],
        "task": running(events, dice),
    }[who]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def running(events, dice):
    ended = {e["pid"] for e in events if e["event"] == "task_exited"}
    left = [e["pid"] for e in events if e["event"] == "task_started" and e["pid"] not in ended]
    return [dice.choice(left)] if left else []

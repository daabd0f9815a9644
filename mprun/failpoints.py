"""Named places at which a test makes a process die or fail, as an environment variable says.

`MPRUN_FAILPOINTS='record.torn=kill; launcher.forked=kill:3'`: a place, what happens there, and
at which of its turns (else the first). Nothing else sets the variable, and without it a
place costs a look at an empty dict.
"""

from __future__ import annotations

import os

VARIABLE = "MPRUN_FAILPOINTS"
# Every place there is; a test goes through all of them.
PLACES = frozenset(
    {
        "record.before",  # events are about to be written
        "record.torn",  # half of them are
        "record.after",  # all are, and nobody has seen them
        "engine.exited",  # an end was reported, and not recorded
        "engine.over",  # everything has ended but the run's record
        "launcher.starting",  # before a fork
        "launcher.forked",  # there is a process, and nobody knows
        "launcher.reaped",  # a process is gone, and nobody knows
        "worker.result",  # a result is written, and has not got its name yet
    }
)


def _read(text: str) -> dict[str, list[str | int]]:
    """What happens where, and at which turn from 1."""
    points: dict[str, list[str | int]] = {}
    for entry in filter(str.strip, text.split(";")):
        place, _, action = entry.strip().partition("=")
        kind, _, turn = action.partition(":")
        if place not in PLACES or kind not in ("kill", "enospc") or not (turn or "1").isdecimal():
            raise ValueError(f"{VARIABLE}: `{entry.strip()}` is no failpoint")
        points[place] = [kind, int(turn or 1)]
    return points


_points = _read(os.environ.get(VARIABLE, ""))
# Whether there are any: where a call costs too much to find that out.
armed = bool(_points)


def reached(place: str) -> None:
    """Do here what a test has asked for: be killed, or fail as on a full disk."""
    if place not in _points:
        return
    point = _points[place]
    point[1] = int(point[1]) - 1
    if point[1] != 0:
        return
    if point[0] == "kill":
        os.kill(os.getpid(), 9)
    raise OSError(28, "No space left on device")


def is_set(place: str) -> bool:
    """Whether something is to happen at a place."""
    return place in _points

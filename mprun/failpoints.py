"""Named points in the code at which a test can kill the process or make it fail.

`MPRUN_FAILPOINTS='record.torn=kill; launcher.forked=kill:3'` names a point, the action (`kill`, or `enospc`
for a full disk) and on which hit it happens (default: the first). Only tests set the variable; without it
a point costs one lookup in an empty dict.
"""

from __future__ import annotations

import os

VARIABLE = "MPRUN_FAILPOINTS"
# Every failpoint; a test kills the process at each of them.
FAILPOINTS = frozenset(
    {
        "record.before",  # events are about to be written
        "record.torn",  # half of them are written
        "record.after",  # all are written, no reporter has received them
        "engine.exited",  # the exit of an attempt was reported, but not recorded
        "engine.finished",  # all tasks have ended, the end of the run is not recorded
        "launcher.starting",  # before a fork
        "launcher.forked",  # the process exists, but is not reported
        "launcher.reaped",  # the process is reaped, but its exit is not reported
        "worker.result",  # a result is written, but not renamed to its final name
    }
)


def _parse(text: str) -> dict[str, list[str | int]]:
    """The action at each failpoint and the number of the hit, from 1, on which it happens."""
    points: dict[str, list[str | int]] = {}
    for entry in filter(str.strip, text.split(";")):
        name, _, action = entry.strip().partition("=")
        kind, _, hit = action.partition(":")
        if name not in FAILPOINTS or kind not in ("kill", "enospc") or not (hit or "1").isdecimal():
            raise ValueError(f"{VARIABLE}: invalid failpoint `{entry.strip()}`")
        points[name] = [kind, int(hit or 1)]
    return points


_points = _parse(os.environ.get(VARIABLE, ""))
# Whether any is set, for callers to whom even the call of `reached` costs too much.
armed = bool(_points)


def reached(name: str) -> None:
    """Kill this process, or raise OSError as a full disk does, if a test has asked for it here."""
    if name not in _points:
        return
    point = _points[name]
    point[1] = int(point[1]) - 1
    if point[1] != 0:
        return
    if point[0] == "kill":
        os.kill(os.getpid(), 9)
    raise OSError(28, "No space left on device")


def is_set(name: str) -> bool:
    """Whether a test has set this failpoint."""
    return name in _points

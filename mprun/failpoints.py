"""Named points in the code at which a test can kill or stop the process, or make it fail.

`MPRUN_FAILPOINTS='record.torn=kill; launcher.forked=kill:3'` names a point, the action (`kill`, `stop`,
`enospc` for a full disk, or `raise` for a defect) and on which hit it happens (default: the first; `3+` is
the third and all that follow).
"""

from __future__ import annotations

import os

VARIABLE = "MPRUN_FAILPOINTS"
_ACTIONS = ("kill", "stop", "enospc", "raise")
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
# The failpoints at which only defects are injected; a test raises an exception at each of them.
DEFECTS = frozenset(
    {
        "loop.wait",  # a turn of the engine's loop begins
        "loop.collect",  # a report was received
        "loop.act",  # the scheduler has decided something
        "loop.resolve",  # a task's references to results are resolved
        "loop.publish",  # what happened in a turn becomes events
        "loop.verdict",  # the end of the run is decided
        "reporter.handle",  # a reporter gets an event
        "reporter.tick",  # a reporter updates what it shows
    }
)


class _Point:
    """The action at a failpoint: on which of the next hits it happens, and whether it repeats."""

    def __init__(self, action: str, hits: int, *, repeats: bool) -> None:
        self.action = action
        self.hits = hits
        self.repeats = repeats


def _parse(text: str) -> dict[str, _Point]:
    points: dict[str, _Point] = {}
    for entry in filter(str.strip, text.split(";")):
        name, _, action = entry.strip().partition("=")
        kind, _, hit = action.partition(":")
        number = hit.removesuffix("+") or "1"
        if name not in FAILPOINTS | DEFECTS or kind not in _ACTIONS or not number.isdecimal():
            raise ValueError(f"{VARIABLE}: invalid failpoint `{entry.strip()}`")
        points[name] = _Point(kind, int(number), repeats=hit.endswith("+"))
    return points


# Only tests set the variable; without it a point costs one lookup in an empty dict.
_points = _parse(os.environ.get(VARIABLE, ""))
# Whether any is set, for callers to whom even the call of `reached` costs too much.
armed = bool(_points)


def reached(name: str) -> None:
    """Kill or stop this process, or raise an exception, if a test asks for it."""
    if name not in _points:
        return
    point = _points[name]
    point.hits -= 1
    if point.hits > 0 or (point.hits < 0 and not point.repeats):
        return
    if point.action == "enospc":
        raise OSError(28, "No space left on device")
    if point.action == "raise":
        raise RuntimeError(f"injected at {name}")
    os.kill(os.getpid(), 9 if point.action == "kill" else 19)


def is_set(name: str) -> bool:
    """Whether a test has set this failpoint."""
    return name in _points

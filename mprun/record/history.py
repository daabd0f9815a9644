"""What the records of earlier runs of a job file tell of how long its tasks take."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun.record import events, recorder
from mprun.record.state_dir import runs
from mprun.scheduling.estimates import RunTimings

if TYPE_CHECKING:
    from collections.abc import Collection


# Among so many of the newest runs those of the file are looked for, and so many are taken.
LOOKED_AT = 50
TAKEN = 3

# Of one record no more is read than this, in bytes; after so many, no further record.
MOST = 64 << 20
ENOUGH = 4 << 20

# A first line of more bytes is none of ours.
_FIRST_LINE = 1 << 20

# What a line is about, as `record.line` writes it: most lines are not worth the JSON.
_HEAD = re.compile(
    rb'\{"event":"task_(exited|finished|started|ready)","time":"([^"]*)","run":"[^"]*",'
    rb'"task":"((?:[^"\\]|\\.)*)",'
)
_DURATION = re.compile(rb'"duration":([-+.0-9eE]+),')
_SUCCEEDED = b'"outcome":"succeeded",'

# Longer than any run, in seconds: what is said to take more is damage.
_NEVER = 1e9


def past_runs(state_dir: str, file: str, served: Collection[str] = ()) -> list[RunTimings]:
    """The newest runs of this job file that tell how long tasks take, newest first.

    `served` has the names of the tasks of which it is of interest when they were ready.
    What cannot be read, was damaged or written by a newer mprun is passed over.
    """
    found: list[RunTimings] = []
    read = 0
    for directory in islice(runs(state_dir), LOOKED_AT):
        try:
            with recorder.opened(directory) as stream:
                past = _past(stream, file, served)
                read += stream.tell() if past is not None else 0
        except OSError:
            continue
        if past is not None and past.durations:
            found.append(past)
        if len(found) == TAKEN or read >= ENOUGH:
            break
    return found


def _past(stream: BinaryIO, file: str, served: Collection[str]) -> RunTimings | None:
    if not _is_of(stream.readline(_FIRST_LINE), file):
        return None
    reading = _Reading(served)
    left = MOST - stream.tell()
    while left > 0 and (line := stream.readline(left)):
        left -= len(line)
        reading.take(line)
    return RunTimings(durations=reading.durations, until_ready=reading.until_ready)


def _is_of(line: bytes, file: str) -> bool:
    """Whether a record's first line is that of a run of this job file."""
    try:
        started: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(started, dict) or started.get("event") != "run_started":
        return False
    written = started.get("format", events.FORMAT)
    return type(written) is int and written <= events.FORMAT and started.get("file") == file


class _Reading:
    """Takes the lines of one record."""

    def __init__(self, served: Collection[str]) -> None:
        self._served = served
        self._last: dict[bytes, float] = {}
        self._started: dict[str, bytes] = {}
        self.durations: dict[str, float] = {}
        self.until_ready: dict[str, float] = {}

    def take(self, line: bytes) -> None:
        head = _HEAD.match(line)
        if head is None:
            return
        what, time, name = head.groups()
        try:
            if what == b"exited":
                self._exited(name, line, head.end())
            elif what == b"finished":
                self._finished(name, line.startswith(_SUCCEEDED, head.end()))
            elif self._served:
                self._served_one(what, _text(name), time)
        except (ValueError, TypeError, OverflowError):
            # A damaged line tells nothing, a time without its zone among them.
            return

    def _exited(self, name: bytes, line: bytes, start: int) -> None:
        duration = _DURATION.search(line, start)
        if duration is not None and 0 <= (seconds := float(duration[1])) < _NEVER:
            self._last[name] = seconds

    def _finished(self, name: bytes, succeeded: bool) -> None:
        seconds = self._last.pop(name, None)
        if succeeded and seconds is not None:
            self.durations[_text(name)] = seconds

    def _served_one(self, what: bytes, name: str, time: bytes) -> None:
        if name not in self._served:
            return
        if what == b"started":
            self._started[name] = time
        elif name in self._started:
            seconds = _seconds_between(self._started.pop(name), time)
            if 0 <= seconds < _NEVER:
                self.until_ready[name] = seconds


def _text(name: bytes) -> str:
    return str(json.loads(b'"%s"' % name)) if b"\\" in name else name.decode()


def _seconds_between(first: bytes, second: bytes) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(second.decode()) - datetime.fromisoformat(first.decode())).total_seconds()

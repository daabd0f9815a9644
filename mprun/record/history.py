"""How long the tasks of a job file took in earlier runs, by the records of these runs."""

from __future__ import annotations

import json
import os
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun.errors import UsageError
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record import events, lock
from mprun.record.line_format import (
    MAX_FIRST_LINE,
    decode_name,
    find_duration,
    says_succeeded,
    task_line_matcher,
)
from mprun.record.moved_path import path_here
from mprun.record.run_list import list_runs
from mprun.scheduling.estimates import RunTimings

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator


# Among this many of the newest runs, runs of the job file are looked for, and this many are used.
MAX_RUNS_SEARCHED = 50
MAX_RUNS_USED = 3

# No more than this is read of one record, in bytes; and no further record after this many.
MAX_BYTES_PER_RECORD = 64 << 20
STOP_AFTER_BYTES = 4 << 20
# How many lines are read in one step.
LINES_A_STEP = 10_000

# Longer than any run, in seconds: a longer duration is damage.
_MAX_DURATION = 1e9


def past_runs(
    state_dir: str,
    file: str,
    services: Collection[str] = (),
    *,
    before: str = "",
    whole: bool = False,
    copies: bool = False,
) -> list[RunTimings]:
    """The newest runs of this job file whose records say how long tasks took, newest first.

    The arguments are those of `past_runs_in_steps`.
    """
    *_, found = past_runs_in_steps(state_dir, file, services, before=before, whole=whole, copies=copies)
    return found or []


def past_runs_in_steps(
    state_dir: str,
    file: str,
    services: Collection[str] = (),
    *,
    before: str = "",
    whole: bool = False,
    copies: bool = False,
) -> Iterator[list[RunTimings] | None]:
    """The same, read for some milliseconds before each value: None, until the last one is the result.

    `services` are the names of the tasks for which the time until they were ready is needed. A
    record that cannot be read, is corrupt or was written by a newer mprun is left out, and so are
    the run with the id `before`, if one is given, and later ones. If only `whole` runs are asked for, so
    are shards: one that has just run must not change how the next one divides the tasks. So are runs that
    repeated tasks, unless those with `copies` are asked for: they only know these by the names of copies.
    """
    found: list[RunTimings] = []
    read = 0
    try:
        earlier = (run for run in list_runs(state_dir) if not before or run.run_id < before)
        known = list(islice(earlier, MAX_RUNS_SEARCHED))
        state_dir = os.path.abspath(state_dir)
    except UsageError:
        # A run has a temporary directory in its place.
        known = []
    for directory in known:
        try:
            with lock.open_record(directory) as stream:
                first = stream.readline(MAX_FIRST_LINE)
                if not is_run_of(first, file, state_dir) or not _counts(first, whole=whole, copies=copies):
                    continue
                timings = yield from _read_timings(stream, services)
                read += stream.tell()
        except OSError:
            continue
        if timings.durations:
            found.append(timings)
        if len(found) == MAX_RUNS_USED or read >= STOP_AFTER_BYTES:
            break
    yield found


def _read_timings(stream: BinaryIO, services: Collection[str]) -> Generator[None, None, RunTimings]:
    collector = _TimingCollector(services)
    left, count = MAX_BYTES_PER_RECORD - stream.tell(), 0
    while left > 0 and (line := stream.readline(left)):
        left -= len(line)
        collector.add_line(line)
        count += 1
        if not count % LINES_A_STEP:
            yield
    return RunTimings(durations=collector.durations, until_ready=collector.until_ready)


def is_run_of(line: bytes, file: str, state_dir: str, job: str = "") -> bool:
    """Whether a record's first line is that of a run of this job file; `state_dir` has the record.

    If the run was recorded elsewhere, the file is the one with the same path from the state directory.
    Jobs from standard input have no file: those with the same name, `job`, count as the same.
    """
    try:
        started: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(started, dict) or started.get("event") != "run_started":
        return False
    written = started.get("format", events.FORMAT)
    named = started.get("file")
    if type(written) is not int or written > events.FORMAT or not isinstance(named, str):
        return False
    if file not in (named, path_here(named, started.get("state_dir"), state_dir)):
        return False
    return file != STANDARD_INPUT_PATH or started.get("job") == job


def _counts(line: bytes, *, whole: bool, copies: bool) -> bool:
    options = json.loads(line).get("options")
    if not isinstance(options, dict):
        return True
    return not (whole and "partition" in options) and (copies or "seed" not in options)


class _TimingCollector:
    """Collects the durations in the lines of one record."""

    def __init__(self, services: Collection[str]) -> None:
        self._match = task_line_matcher()
        self._services = services
        # By a task's name as JSON: the duration of its last attempt in seconds.
        self._last: dict[bytes, float] = {}
        self._started: dict[str, bytes] = {}
        self.durations: dict[str, float] = {}
        self.until_ready: dict[str, float] = {}

    def add_line(self, line: bytes) -> None:
        """Take the next line; most lines are not worth parsing."""
        found = self._match(line)
        if found is None:
            return
        kind, time, name = found.groups()
        try:
            if kind == b"exited":
                self._add_exit(name, find_duration(line, found.end()))
            elif kind == b"finished":
                self._add_outcome(name, says_succeeded(line, found.end()))
            elif self._services and kind in (b"started", b"ready"):
                self._add_service(kind, decode_name(name), time)
        except (ValueError, TypeError, OverflowError):
            # A corrupt line, such as one with a time without its zone.
            return

    def _add_exit(self, name: bytes, seconds: float | None) -> None:
        if seconds is not None and 0 <= seconds < _MAX_DURATION:
            self._last[name] = seconds

    def _add_outcome(self, name: bytes, succeeded: bool) -> None:
        seconds = self._last.pop(name, None)
        if succeeded and seconds is not None:
            self.durations[decode_name(name)] = seconds

    def _add_service(self, kind: bytes, name: str, time: bytes) -> None:
        if name not in self._services:
            return
        if kind == b"started":
            self._started[name] = time
        elif name in self._started:
            seconds = _seconds_between(self._started.pop(name), time)
            if 0 <= seconds < _MAX_DURATION:
                self.until_ready[name] = seconds


def _seconds_between(first: bytes, second: bytes) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(second.decode()) - datetime.fromisoformat(first.decode())).total_seconds()

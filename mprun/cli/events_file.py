"""The file of `--events`: which files it may overwrite, and when."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from typing import TYPE_CHECKING

from mprun.cli.messages import warn
from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.record.line_format import RUN_STARTED
from mprun.record.state_dir import EVENTS
from mprun.reporters.door import expect_json
from mprun.reporters.jsonl import JsonLines
from mprun.reporters.outlet import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun import api
    from mprun.record.state_files import StateFile
    from mprun.reporters.base import Reporter
    from mprun.scheduling.plan import Plan


# How long a FIFO may have no reader, as when a shell starts both at once, and how often that is tried.
_WAIT_SECONDS = 5.0
_RETRY_SECONDS = 0.02


def events_reporter(path: str, plan: Plan, state_dir: str) -> Callable[[api.Context], Reporter]:
    """What makes the reporter that writes the events to a file, or to standard output for `-`.

    The file is opened now, and emptied once the run begins. Raises UsageError if it cannot be written,
    or has something that would be lost.
    """
    if path == "-":
        expect_json(sys.stdout)
        return lambda context: JsonLines(sys.stdout, path, warn, _record(context))
    if any(_is_same_file(path, name) for name, _ in plan.job.files):
        raise UsageError(f"`--events` would overwrite {quote(path)}, a file of this job; name another file")
    if os.path.realpath(path).startswith(os.path.join(os.path.realpath(state_dir), "")):
        raise UsageError(f"`--events` would write {quote(path)} among the records of runs; name another file")
    try:
        _check_content(path)
        descriptor = _open(path)
    except OSError as error:
        raise UsageError(f"cannot write --events {path}: {error.strerror}") from None
    return lambda context: _reporter(descriptor, path, _record(context))


def _open(path: str) -> int:
    """Open a file to write. Raises OSError, and UsageError for a FIFO that no process reads."""
    flags, until = os.O_WRONLY | os.O_CREAT, time.monotonic() + _WAIT_SECONDS
    # To open a FIFO waits for a reader, before anything starts and without a limit.
    while True:
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK, 0o600)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
        if time.monotonic() > until:
            raise UsageError(f"no process reads the FIFO {quote(path)} of `--events`; start its reader first")
        time.sleep(_RETRY_SECONDS)
    os.set_blocking(descriptor, True)
    return descriptor


def _check_content(path: str) -> None:
    """Raise UsageError if a file has anything but the events of a run."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    # Reading from a pipe or a device would wait, and take what is in it.
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        return
    with open(path, "rb") as stream:
        if stream.read(len(RUN_STARTED)) != RUN_STARTED:
            raise UsageError(
                f"`--events` would overwrite {quote(path)}, which has no events of a run; "
                "name another file, or remove this one"
            )


def _record(context: api.Context) -> StateFile:
    return context.directory.folder.file(EVENTS)


def _reporter(descriptor: int, path: str, record: StateFile) -> Reporter:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.ftruncate(descriptor, 0)
    # Closed at exit.
    return JsonLines(display.open(descriptor, path), path, warn, record)


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        # One of them does not exist, or is standard input.
        return False

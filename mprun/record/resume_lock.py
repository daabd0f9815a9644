"""Lets one run at a time resume another one.

All runs that resume the same run, directly or one after the other, do its work. So the lock is on the
directory of the run that was the first of them. It is flock(2)'s, which needs no file of its own, and
the kernel drops it when its holder ends. The record says who the holder is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from itertools import takewhile
from typing import TYPE_CHECKING

from mprun.errors import UsageError
from mprun.outcomes import Outcome
from mprun.record.commands import command
from mprun.record.state_dir import list_runs
from mprun.record.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.resume import EarlierRun


@contextlib.contextmanager
def locked(state_dir: str, earlier: EarlierRun) -> Iterator[None]:
    """Hold the lock on a run that is to be resumed.

    Raises UsageError if a run is resuming it, or a run of its lineage.
    """
    run_id = earlier.directory.run_id
    lock = _lock(earlier.lineage[-1].path)
    try:
        if (resuming := _find_resuming(state_dir, earlier)) is not None:
            raise UsageError(
                f"run {run_id} is being resumed by run {resuming}; wait for that, "
                f"or stop it with `{command(earlier.directory, 'stop', '--run', resuming)}`"
            )
        if lock is None:
            raise UsageError(f"another `mprun resume` of run {run_id} is starting; wait for that")
        yield
    finally:
        if lock is not None and lock >= 0:
            os.close(lock)


def _lock(path: str) -> int | None:
    """A descriptor that holds the lock; None if another process holds it, -1 if there are no locks here."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        # A network file system, for which a directory cannot be locked.
        os.close(descriptor)
        return -1
    return descriptor


def _find_resuming(state_dir: str, earlier: EarlierRun) -> str | None:
    """The active run that resumes a run, or one of its lineage, or a run that resumed one of these."""
    first = earlier.lineage[-1].run_id
    newer = takewhile(lambda directory: directory.run_id > first, list_runs(state_dir))
    summaries = [summary for summary in map(RunSummary, newer) if summary.state is not None]
    family = {directory.run_id for directory in earlier.lineage}
    found = None
    for summary in reversed(summaries):
        run_id, started = summary.directory.run_id, summary.state.started if summary.state else None
        if started is not None and started.resumed_from in family:
            family.add(run_id)
            if summary.outcome == Outcome.RUNNING:
                found = run_id
    return found

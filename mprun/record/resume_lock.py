"""Lets one run at a time resume another one.

All runs that resume the same run, directly or one after the other, do its work. So the lock is on the
directory of the run that was the first of them. It is flock(2)'s, which needs no file of its own, and
the kernel drops it when its holder ends. The record says who the holder is.
"""

from __future__ import annotations

import contextlib
import fcntl
from itertools import takewhile
from typing import TYPE_CHECKING

from mprun.errors import UsageError
from mprun.outcomes import Outcome
from mprun.record.commands import command
from mprun.record.run_list import list_runs
from mprun.record.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.resume import EarlierRun
    from mprun.record.state_files import Folder


@contextlib.contextmanager
def locked(state_dir: str, earlier: EarlierRun) -> Iterator[None]:
    """Hold the lock on a run that is to be resumed.

    Raises UsageError if a run is resuming it, or a run of its lineage.
    """
    run_id = earlier.directory.run_id
    first = earlier.lineage[-1]
    # Its directory, opened for the lock alone.
    folder = first.beside(first.run_id).folder
    is_locked = _lock(folder)
    try:
        if (resuming := _find_resuming(state_dir, earlier)) is not None:
            raise UsageError(
                f"run {run_id} is being resumed by run {resuming}; wait for that, "
                f"or stop it with `{command(earlier.directory, 'stop', '--run', resuming)}`"
            )
        if not is_locked:
            raise UsageError(f"another `mprun resume` of run {run_id} is starting; wait for that")
        yield
    finally:
        folder.close()


def _lock(folder: Folder) -> bool:
    """Lock a directory while it is held; false if another process has locked it."""
    try:
        fcntl.flock(folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A network file system, for which a directory cannot be locked.
        pass
    return True


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

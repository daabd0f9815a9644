"""Removes the records of runs that ended long ago, and nothing else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.outcomes import Outcome
from mprun.record.state_dir import EVENTS, is_run_id

if TYPE_CHECKING:
    from mprun.record.summary import RunSummary


class RunsFolder:
    """The `runs` folder of a state directory, kept open, so that a name always means an entry of it."""

    def __init__(self, state_dir: str) -> None:
        path = os.path.join(state_dir, "runs")
        self._folder = -1
        try:
            self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            # There are no runs, and nothing to remove.
            pass
        except OSError:
            raise UsageError(f"{quote(path)} is a link or not a directory; nothing was removed") from None

    def __enter__(self) -> RunsFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)

    def contains(self, run_id: str) -> bool:
        """Whether a directory is a run's: it has a run id for a name, and is not a symbolic link."""
        if not is_run_id(run_id):
            return False
        try:
            found = os.stat(run_id, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode)

    def remove(self, run_id: str) -> None:
        """Remove a run, its record last, so that a run that is removed by half is still found as a run.

        Raises OSError if a part of it cannot be removed.
        """
        import shutil

        run = os.open(
            run_id, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder
        )
        try:
            with os.scandir(run) as entries:
                found = sorted(entries, key=lambda entry: entry.name == EVENTS)
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.name, dir_fd=run)
                else:
                    os.unlink(entry.name, dir_fd=run)
        finally:
            os.close(run)
        os.rmdir(run_id, dir_fd=self._folder)


def keep_reason(run: RunSummary, older_than: float, now: float) -> str | None:
    """Why a run must not be removed: empty if it is only too young, None if it can be removed.

    `older_than` is in seconds, `now` the wall clock, in seconds since the epoch.
    """
    state = run.state
    if state is None or state.started is None:
        return f"its record cannot be read ({run.damage[0]})"
    if run.outcome == Outcome.RUNNING:
        return ""
    if state.finished is None and state.started.host != os.uname().nodename:
        return f"it was started on {quote(state.started.host)} and may still be running there"
    age = run.seconds_since_end(now)
    if age is None:
        return "its record does not say when it ended"
    return None if age > older_than else ""

"""Decides which runs ended so long ago that they can be removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.outcomes import Outcome
from mprun.record import lock
from mprun.record.state_dir import is_run_id

if TYPE_CHECKING:
    from mprun.record.summary import RunSummary


def keep_reason(run: RunSummary, older_than: float, now: float) -> str | None:
    """Why a run must not be removed: empty if it is only too young, None if it can be removed.

    `older_than` is in seconds, `now` the wall clock, in seconds since the epoch.
    """
    if not is_run_id(run.directory.run_id):
        return "it is not a directory made by mprun"
    state = run.state
    if state is None or state.started is None:
        return f"its record cannot be read ({run.damage[0]})"
    if run.outcome == Outcome.RUNNING:
        return ""
    if state.finished is None and state.started.host != os.uname().nodename:
        return f"it was started on {quote(state.started.host)} and may still be running there"
    if state.finished is None and not lock.is_over(run.directory):
        return "its file system has no locks, and nothing else shows that it is not running"
    age = run.seconds_since_end(now)
    if age is None:
        return "its record does not say when it ended"
    return None if age > older_than else ""

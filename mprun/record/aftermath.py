"""What to say of a task whose end is not in the record, as mprun was killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.outcomes import Outcome, format_exit

if TYPE_CHECKING:
    from mprun.record.run_state import TaskState
    from mprun.record.state_dir import RunDirectory

UNSEEN = "mprun was killed: nobody saw its end"
NEVER_STARTED = "mprun was killed before its start"


def verdict(directory: RunDirectory, task: TaskState) -> tuple[str, str, int]:
    """Its outcome, the reason, and how many attempts there were, as far as that can be known."""
    attempts = len(task.attempts)
    if was_begun(directory, task.name, attempts + 1):
        return Outcome.UNKNOWN, UNSEEN, attempts + 1
    if not attempts:
        return Outcome.CANCELLED, NEVER_STARTED, 0
    last = task.attempts[-1]
    if last.exited is None or last.retrying is None or last.retrying.reason != "retry":
        # What has exited, but was not judged, is as unknown as what nobody saw exit.
        return Outcome.UNKNOWN, UNSEEN, attempts
    timed_out = last.stopping is not None and last.stopping.reason == "timeout"
    words = format_exit(last.exited.exit_code, last.exited.signal, last.exited.core_dumped)
    outcome = Outcome.TIMED_OUT if timed_out else Outcome.FAILED
    return outcome, f"{words}, and mprun was killed before the next attempt", attempts


def was_begun(directory: RunDirectory, name: str, attempt: int) -> bool:
    """Whether an attempt had a process: before anything else, that opens its log."""
    return os.path.exists(directory.log(name, attempt))

"""What is said of a stop: which tasks are running, and how long they may take to end.

Stopping: 3 tasks have 5s to finish (web, crunch[4], crunch[5]). Press Ctrl-C again to kill them now.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from mprun.jobfile.units import duration_text
from mprun.reporters.format import join_names
from mprun.scheduling.instructions import (
    FAIL_FAST,
    INTERNAL_ERROR,
    RECORD_WRITE_FAILED,
    RUN_FINISHED,
    RUN_TIMED_OUT,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.record.run_state import RunState
    from mprun.scheduling.stop_limit import StopLimit

# Why the whole run is stopped, if no signal has asked for that.
RUN_REASONS = (RUN_FINISHED, FAIL_FAST, RUN_TIMED_OUT, RECORD_WRITE_FAILED, INTERNAL_ERROR)
# Most tasks end sooner: after this many seconds a stop that no one has asked for is mentioned.
PATIENCE_SECONDS = 1.0
_MAX_NAMES = 5


class StopNotice:
    """Decides when something is said of a stop: at a signal at once, else if it takes long; each once.

    `limit` says how long running tasks may take, by their names.
    """

    def __init__(self, limit: Callable[[Sequence[str]], StopLimit]) -> None:
        self._limit = limit
        self._began: float | None = None
        self._said = self._said_after_signal = False

    def task_stopping(self, reason: str, now: float) -> None:
        """A task is asked to end for this reason, which may show that the whole run is being stopped."""
        if self._began is None and reason in RUN_REASONS:
            self._began = now

    def line(self, state: RunState, number: int | None, now: float) -> str | None:
        """The line that is due, if any; `number` is the signal that stops the run, None if none does."""
        is_late = self._began is not None and now - self._began >= PATIENCE_SECONDS
        if self._said_after_signal or (number is None and (self._said or not is_late)):
            return None
        names = [task.name for task in state.tasks.values() if task.is_running]
        if not names:
            return None
        self._said, self._said_after_signal = True, number is not None
        limit = self._limit(names)
        # Tasks start after those that they depend on.
        return stop_line(names[::-1] if limit.has_steps else names, limit, number)


def stop_line(names: Sequence[str], limit: StopLimit, number: int | None) -> str:
    """The line about running tasks, in the order in which they are to be named."""
    one = len(names) == 1
    most = "" if limit.is_exact else "up to "
    order = ", dependents first" if limit.has_steps else ""
    return (
        f"Stopping: {len(names)} {'task has' if one else 'tasks have'} {most}{duration_text(limit.seconds)} "
        f"to finish{order} ({join_names(names, _MAX_NAMES)})."
        f"{_kill_hint(number, 'it' if one else 'them') if is_in_foreground() else ''}"
    )


def _kill_hint(number: int | None, whom: str) -> str:
    """How Ctrl-C kills: see `mprun.engine.signals.StopSignals`."""
    how = "twice " if number is None else "again " if number == signal.SIGINT else ""
    return f" Press Ctrl-C {how}to kill {whom} now."


def is_in_foreground() -> bool:
    """Whether this process gets a SIGINT if someone presses Ctrl-C on its terminal."""
    for descriptor in (0, 2, 1):
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        except OSError:
            continue
    return False

"""The stacks of running tasks, for a person who asks what they are doing; their logs do not get them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mprun.linux import pidfd_signals, procfs

if TYPE_CHECKING:
    from mprun.launcher.requested_stacks import RequestedStacks


class TaskStacks:
    """The stacks that one process was asked for; see `mprun.reporters.base.Stacks`."""

    def __init__(self, dump: RequestedStacks) -> None:
        self._dump = dump

    def read(self) -> str | None:
        """The stacks as a traceback shows them, empty if there was no answer in time; None so far."""
        if not self._dump.is_finished():
            return None
        # Whatever it is, the run continues.
        with contextlib.suppress(Exception):
            return self._dump.read()
        return ""


def request_stacks(pid: int, start_ticks: int | None) -> TaskStacks | None:
    """Ask a process for its stacks; None if it is not the one that began at `start_ticks`, or cannot."""
    # Few runs are asked, and it is the launcher's: 5 ms.
    from mprun.launcher import requested_stacks

    try:
        pidfd = pidfd_signals.open_pidfd(pid)
    except OSError:
        return None
    try:
        if start_ticks is None or procfs.start_ticks(pid) != start_ticks:
            return None
        dump = requested_stacks.request_text(pid, pidfd, "")
    finally:
        pidfd_signals.close_pidfd(pidfd)
    return TaskStacks(dump) if dump is not None else None

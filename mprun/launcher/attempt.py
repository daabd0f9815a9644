"""One attempt of a task, as the launcher starts it, holds it, and reports its end."""

from __future__ import annotations

import os
import time

from mprun.launcher.channel import COMMAND, DAEMON, KEY, LOG, NAME
from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mprun.launcher.channel import AttemptKey, PackedStartRequest
    from mprun.launcher.fork import ProcessHandle
    from mprun.launcher.reaper import ProcessIdentity


class Attempt:
    """A process and what is known of it; `clock` is when its start began, `log` a path.

    `ticks` is when its process began, in clock ticks since boot, where that is known.

    `program` says whether it becomes one that is not ours. Raises OSError with what hinders
    its start.
    """

    key: AttemptKey
    name: str
    daemon: bool
    log: str

    __slots__ = (
        "asked",
        "clock",
        "daemon",
        "key",
        "log",
        "name",
        "orphans",
        "popen",
        "program",
        "threads",
        "ticks",
    )

    def __init__(
        self,
        request: PackedStartRequest,
        start: Callable[[Any], ProcessHandle],
        argument: object,
        ticks: int | None = None,
    ) -> None:
        self.key = request[KEY]
        self.name = request[NAME]
        self.daemon = request[DAEMON]
        self.log = request[LOG]
        self.program = request[COMMAND] is not None
        # Whether it was sent a signal.
        self.asked = False
        self.orphans: tuple[int, ...] = ()
        self.threads = 1
        self.clock, now = time.monotonic(), procfs.boot_ticks()
        self.popen = start(argument)
        if ticks is None:
            # Most begin and are there within one tick, which saves the launcher a tenth of its work
            # for a task.
            ticks = now if now == procfs.boot_ticks() else procfs.start_ticks(self.popen.pid)
        self.ticks = ticks

    def sample(self) -> None:
        """Look at how many threads it has, and keep the most that were seen."""
        stat = procfs.read_stat(self.popen.pid)
        if stat is not None:
            self.threads = max(self.threads, stat.threads)

    def left(self, traces: ProcessIdentity, run_id: str) -> bool:
        """Whether an orphan is of this attempt, by what it shows."""
        return traces.session == self.popen.pid or traces.name(run_id, self.name, self.key[1])

    def ending(self, clock: float, code: int | None) -> tuple[Any, ...]:
        """The facts of `Exited`, in their order; `clock` is when the end was seen."""
        held = self.popen
        return (
            self.key,
            clock,
            held.pid,
            code,
            held.status is not None and os.WCOREDUMP(held.status),
            clock - self.clock,
            held.cpu,
            held.max_rss,
            self.threads,
            self.orphans,
            self.asked,
        )

"""One attempt of a task in the launcher: its process, and what is reported when it ends."""

from __future__ import annotations

import contextlib
from os import WCOREDUMP
from time import monotonic

from mprun.launcher.channel import COMMAND, DAEMON, KEY, LOG, NAME
from mprun.linux import procfs
from mprun.linux.procfs import boot_ticks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mprun.launcher.channel import AttemptKey, PackedStartRequest
    from mprun.launcher.fork import ProcessHandle
    from mprun.launcher.log_watch import LogWatch
    from mprun.launcher.process_identity import ProcessIdentity


class Attempt:
    """An attempt of a task, and the `handle` of its process.

    `clock` is the monotonic time at which its start began, `ticks` when its process began, in
    clock ticks since boot, None if unknown. `program` is the first word of a command, whose process
    knows nothing of mprun, None for a target. `asked` says whether it was sent a
    signal, `group_asked` whether its group was asked to end. `orphans` are the pids of the processes
    that it left behind, `left_running` of those that could not be killed. `log_watch` is for a log that
    its process writes itself, None if it was never sampled.
    """

    __slots__ = (
        "asked",
        "clock",
        "daemon",
        "group_asked",
        "handle",
        "key",
        "left_running",
        "log",
        "log_watch",
        "name",
        "orphans",
        "program",
        "threads",
        "ticks",
    )

    def __init__(
        self,
        request: PackedStartRequest,
        start_process: Callable[[Any], ProcessHandle],
        argument: object,
        ticks: int | None = None,
    ) -> None:
        """Start an attempt with `start_process(argument)`; `ticks` is when its process began, if known.

        Raises OSError if the process cannot be started.
        """
        # Set before there is a process, which gets a copy: what is written later is copied once more.
        self.key: AttemptKey = request[KEY]
        self.name: str = request[NAME]
        self.daemon: bool = request[DAEMON]
        self.log: str = request[LOG]
        self.program: str | None = request[COMMAND][0] if request[COMMAND] is not None else None
        self.asked = self.group_asked = False
        self.orphans: tuple[int, ...] = ()
        self.left_running: tuple[int, ...] = ()
        self.threads = 1
        self.log_watch: LogWatch | None = None
        self.clock, now = monotonic(), boot_ticks()
        self.handle = start_process(argument)
        if ticks is None:
            # Most processes begin within one tick. Not to ask /proc saves a tenth of the launcher's
            # work for a task.
            ticks = now if now == boot_ticks() else self.handle.start_ticks()
        self.ticks = ticks

    def sample(self) -> None:
        """Count the threads of the process, and keep the highest count; look at its log."""
        self.threads = max(self.threads, procfs.count_threads(self.handle.pid))
        if self.program is None:
            # There may be no descriptor for the module, or it is gone since the start.
            with contextlib.suppress(OSError, ImportError):
                self._look_at_log()

    def _look_at_log(self) -> None:
        if self.log_watch is None:
            from mprun.launcher.log_watch import LogWatch

            self.log_watch = LogWatch(self.log)
        self.log_watch.look()

    def has_left(self, orphan: ProcessIdentity, run_id: str) -> bool:
        """Whether an orphan provably belongs to this attempt."""
        return orphan.session == self.handle.pid or orphan.is_tagged(run_id, self.name, self.key[1])

    def exit_facts(self, clock: float, code: int | None) -> tuple[Any, ...]:
        """The fields of `mprun.executors.base.Exited`, in their order; the end was seen at `clock`."""
        handle = self.handle
        return (
            self.key,
            clock,
            handle.pid,
            code,
            handle.status is not None and WCOREDUMP(handle.status),
            clock - self.clock,
            handle.cpu,
            handle.max_rss,
            self.threads,
            self.orphans,
            self.asked,
        )

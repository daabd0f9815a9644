"""One attempt of a task in the launcher: its process, and what is reported when it ends."""

from __future__ import annotations

import contextlib
import os
import time

from mprun.launcher.channel import COMMAND, DAEMON, KEY, LOG, NAME
from mprun.linux import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from mprun.launcher.channel import AttemptKey, PackedStartRequest
    from mprun.launcher.fork import ProcessHandle
    from mprun.launcher.reaper import ProcessIdentity


class Attempt:
    """An attempt of a task, and the `handle` of its process.

    `clock` is the monotonic time at which its start began, `ticks` when its process began, in
    clock ticks since boot, None if unknown. `is_program` says whether the process becomes a
    program that knows nothing of mprun, `asked` whether it was sent a signal, and `orphans`
    are the pids of the processes that it left behind. `log_size` is the size at the last sample of a log
    that its process writes itself, `lost_bytes` by how much such a log has shrunk.
    """

    __slots__ = (
        "asked",
        "clock",
        "daemon",
        "handle",
        "is_program",
        "key",
        "log",
        "log_size",
        "lost_bytes",
        "name",
        "orphans",
        "threads",
        "ticks",
    )

    handle: ProcessHandle
    clock: float
    ticks: int | None

    def __init__(self, request: PackedStartRequest) -> None:
        self.key: AttemptKey = request[KEY]
        self.name: str = request[NAME]
        self.daemon: bool = request[DAEMON]
        self.log: str = request[LOG]
        self.is_program = request[COMMAND] is not None
        self.asked = False
        self.orphans: tuple[int, ...] = ()
        self.threads = 1
        self.log_size = self.lost_bytes = 0

    @classmethod
    def start(
        cls,
        request: PackedStartRequest,
        start_process: Callable[[Any], ProcessHandle],
        argument: object,
        ticks: int | None = None,
    ) -> Self:
        """Start an attempt with `start_process(argument)`; `ticks` is when its process began, if known.

        Raises OSError if the process cannot be started.
        """
        # Made before the process, which gets a copy: what the launcher writes later is copied once more.
        attempt = cls(request)
        attempt.clock, now = time.monotonic(), procfs.boot_ticks()
        attempt.handle = start_process(argument)
        if ticks is None:
            # Most processes begin within one tick. Not to ask /proc saves a tenth of the launcher's
            # work for a task.
            ticks = now if now == procfs.boot_ticks() else attempt.handle.start_ticks()
        attempt.ticks = ticks
        return attempt

    def sample(self) -> None:
        """Count the threads of the process, and keep the highest count; look at its log."""
        stat = procfs.read_stat(self.handle.pid)
        if stat is not None:
            self.threads = max(self.threads, stat.threads)
        if not self.is_program:
            self._look_at_log()

    def _look_at_log(self) -> None:
        try:
            size = os.stat(self.log).st_size
        except OSError:
            return
        self.lost_bytes += max(0, self.log_size - size)
        self.log_size = size

    def report_lost_output(self) -> None:
        """Note in the log if it has shrunk: the task opened its output again, and truncated it."""
        # One that was never sampled was too short to be seen shrinking.
        if not self.log_size and not self.lost_bytes:
            return
        self._look_at_log()
        if self.lost_bytes:
            lost = f"at least {self.lost_bytes} bytes are lost"
            text = f"mprun: this log was truncated while the task ran; {lost}\n"
            with contextlib.suppress(OSError):
                file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                os.write(file, text.encode())
                os.close(file)

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
            handle.status is not None and os.WCOREDUMP(handle.status),
            clock - self.clock,
            handle.cpu,
            handle.max_rss,
            self.threads,
            self.orphans,
            self.asked,
        )

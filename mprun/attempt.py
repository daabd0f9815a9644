"""One attempt of a task, as the launcher starts it, holds it, and reports its end."""

from __future__ import annotations

import errno
import os
import time

from mprun import procfs
from mprun.worker import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mprun.reaper import Traces


def no_fork_server() -> OSError:
    """What hinders a start by a fork server that is no more."""
    return OSError(errno.ESRCH, "the fork server is gone")


class Attempt:
    """A process and what is known of it; `clock` is when its start began, `log` a path."""

    __slots__ = ("clock", "key", "log", "orphans", "popen", "process", "threads", "ticks")

    def __init__(self, key: tuple[int, int], process: Process) -> None:
        self.key = key
        self.process = process
        self.popen: Any = None
        self.log: str = process.assignment.log
        self.clock = 0.0
        self.ticks: int | None = None
        self.orphans: tuple[int, ...] = ()
        self.threads = 1

    def start(self) -> None:
        """Give it a process. Raises OSError with what hinders that."""
        self.clock, ticks = time.monotonic(), procfs.boot_ticks()
        try:
            self.process.start()
        except (EOFError, ConnectionError):
            if self.process.method == "forkserver":
                raise no_fork_server() from None
            raise
        self.popen = self.process._popen
        if ticks is None or ticks != procfs.boot_ticks():
            # It began in one of two ticks, and only /proc knows in which. Most begin and
            # are there within one, which saves the launcher a tenth of its work for a task.
            stat = procfs.read_stat(self.popen.pid)
            ticks = stat.start_ticks if stat else None
        self.ticks = ticks

    @property
    def answers_with_stacks(self) -> bool:
        """Whether its process is one of ours, and not a program that may use SIGUSR2 for its own ends."""
        return self.process.assignment.command is None

    def sample(self) -> None:
        """Look at how many threads it has, and keep the most that were seen."""
        stat = procfs.read_stat(self.popen.pid)
        if stat is not None:
            self.threads = max(self.threads, stat.threads)

    def left(self, traces: Traces, run_id: str) -> bool:
        """Whether an orphan is of this attempt, by what it shows."""
        return traces.session == self.popen.pid or traces.name(run_id, self.process.name, self.key[1])

    def ending(self, clock: float, code: int | None) -> tuple[Any, ...]:
        """The facts of `Exited`, in their order; `clock` is when the end was seen."""
        held, usage = self.popen, self.popen.usage
        return (
            self.key,
            clock,
            held.pid,
            code,
            held.status is not None and os.WCOREDUMP(held.status),
            clock - self.clock,
            usage.ru_utime + usage.ru_stime if usage else None,
            usage.ru_maxrss * 1024 if usage else None,
            self.threads,
            self.orphans,
        )

"""How a task's process is forked, and how the end of any task's process is seen.

The classes are multiprocessing's own `Popen`s; they add a descriptor that becomes
readable when the process ends (`waiter`) and keep what `wait4` says of it: whoever reaps
first gets the status and the usage, so both are taken in `poll`, where multiprocessing
takes them.
"""

from __future__ import annotations

import os
import resource  # noqa: F401  os.wait4 imports it, after it has reaped: by then there may be no descriptor for that
import signal
import threading
from multiprocessing import popen_fork

# As in `typing`, which takes longer to import than all else that a launcher needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from resource import struct_rusage

    from mprun.worker import Process

# What belongs to the launcher alone: a fork of it closes it before anything else, since
# a socket held by a task hides the launcher's end, and a pidfd held keeps epoll reporting.
private_descriptors: set[int] = set()


def keep_descriptors_private() -> None:
    """Have every fork of this process close them: also one that a module makes at its import."""
    os.register_at_fork(after_in_child=_close_private_descriptors)


def _close_private_descriptors() -> None:
    for descriptor in private_descriptors:
        os.close(descriptor)
    # The child may get these numbers for its own files, and fork in its turn.
    private_descriptors.clear()


# Readable once the launcher has ended: what multiprocessing.parent_process() waits for.
launcher_pidfd: list[int] = []


_thread_reset = threading._after_fork.__code__  # type: ignore[attr-defined]


def _no_reset() -> None:
    pass


def skip_thread_reset() -> None:
    """Spare forked tasks threading's own clean-up after a fork, while there is nothing to clean.

    In a child of a process with one thread it replaces what is there by what is the same,
    and to do so it touches 120 pages, each of which the kernel then copies: a third of the
    whole cost of a fork (`python benchmarks/fork_cost.py`). The hook cannot be taken back,
    so it is emptied; a task puts it back before anything else, for its own children.
    """
    if threading.active_count() == 1:
        threading._after_fork.__code__ = _no_reset.__code__  # type: ignore[attr-defined]


class Pidfd:
    """The part that all three share: a pidfd for signals, and the end as the kernel tells it."""

    pid: int
    returncode: int | None
    pidfd: int = -1
    # Whether nobody but the launcher reaps it: until then its number is its own.
    reaped_here = True
    # The raw status of wait(2), None where somebody else reaped; the usage likewise.
    status: int | None = None
    usage: struct_rusage | None = None

    @property
    def waiter(self) -> int:
        """A descriptor that is readable once the process has ended."""
        return self.pidfd

    def open_pidfd(self) -> None:
        """Open the pidfd of a child that nobody has reaped; kill it where that fails."""
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        private_descriptors.add(self.pidfd)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, negative for a signal, once the process has ended; reaps it."""
        if self.returncode is None:
            pid, status, usage = os.wait4(self.pid, flag)
            if pid == self.pid:
                self.status, self.usage = status, usage
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def close(self) -> None:
        """Close what the launcher holds of this process."""
        if self.pidfd >= 0:
            private_descriptors.discard(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1


class ForkPopen(Pidfd, popen_fork.Popen):
    """A copy of the launcher, without the two pipes that a pidfd makes superfluous."""

    def _launch(self, process: Process) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            self._run_child(process)
        self.open_pidfd()
        self.sentinel = self.pidfd

    def _run_child(self, process: Process) -> None:
        code = 1
        try:
            threading._after_fork.__code__ = _thread_reset  # type: ignore[attr-defined]
            code = process._bootstrap(parent_sentinel=launcher_pidfd[0])
        finally:
            os._exit(code)

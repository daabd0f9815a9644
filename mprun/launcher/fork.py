"""Forks the processes of tasks, and sees the end of any task's process.

The status and the usage of a process can be read once, by the call that reaps it: both are kept
there (`ProcessHandle.poll`). A pidfd shows when the process has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from os import close, closerange, fork, waitstatus_to_exitcode

from mprun import failpoints
from mprun.failpoints import armed
from mprun.linux import pidfd_signals, procfs
from mprun.linux.pidfd_signals import pidfd_open
from mprun.linux.wait4 import wait

# Not from `typing`, which takes longer to import than everything else that a launcher needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from mprun.launcher.worker import Process

    class Child(Protocol):
        """What a fork runs, from its first step to its exit code."""

        def _bootstrap(self, parent_sentinel: int | None, barrier: int) -> int: ...


# The launcher's own descriptors. A fork closes them before anything else: if a task had the socket, the
# engine would not see the launcher's end, and if it had a pidfd, epoll would keep reporting it.
private_descriptors: set[int] = set()
# From so many on they are probably consecutive: most are pidfds of running tasks.
MIN_FOR_CLOSE_RANGE = 32


def keep_descriptors_private() -> None:
    """Have every fork of this process close them, including forks that a module makes at its import."""
    os.register_at_fork(after_in_child=_close_private_descriptors)


def _close_private_descriptors() -> None:
    if len(private_descriptors) > MIN_FOR_CLOSE_RANGE:
        first, last = min(private_descriptors), max(private_descriptors)
        if last - first < len(private_descriptors):
            # One system call for all of them.
            closerange(first, last + 1)
            private_descriptors.clear()
    for descriptor in private_descriptors:
        close(descriptor)
    # The child may get these numbers for its own files, and fork as well.
    private_descriptors.clear()


# Descriptors that are freed if there are no others: for the pidfd of a process that is running by then, and
# for what the launcher does seldom, such as an import, or a look at the processes of a task that is stopped.
_reserve: list[int] = []
RESERVED = 3


def reserve_descriptors() -> None:
    """Fill the reserve, which each start needs. Raises OSError."""
    try:
        while len(_reserve) < RESERVED:
            # A duplicate of the log, which is open; a module may have closed standard input.
            _reserve.append(os.dup(1))
    except OSError:
        release_reserve()
        raise
    private_descriptors.update(_reserve)


def release_reserve() -> None:
    """Free the reserve until the next start, which waits if it cannot fill it."""
    private_descriptors.difference_update(_reserve)
    while _reserve:
        close(_reserve.pop())


# It becomes readable when the launcher ends, for multiprocessing.parent_process() in tasks.
launcher_pidfd: list[int] = []
# Closes the pidfd of a process. Its stand-in, where the system refuses pidfds, is also forgotten: else the
# next file with its number would be taken for it.
_close_pidfd: Callable[[int], None] = close


def open_launcher_pidfd() -> None:
    """Open it; if the system refuses pidfds, as a pipe whose other end the launcher alone has."""
    global _close_pidfd
    try:
        launcher_pidfd.append(pidfd_open(os.getpid()))
    except OSError as error:
        if not pidfd_signals.is_refusal(error):
            raise
        pidfd_signals.refused.add("pidfd_open")
        _close_pidfd = pidfd_signals.close_pidfd
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        launcher_pidfd.append(read_end)
        private_descriptors.add(write_end)
    else:
        pidfd_signals.check_support(launcher_pidfd[0])


# The newest Python whose `threading` was checked: what its hook does, and that it is code without a closure.
TRIED_PYTHON = (3, 15)

# Names of `threading` that the hook below uses there: whether this is its first call in this process,
# and the function that it replaces.
_first: bool
_reset: Callable[[], None]


def _after_fork() -> None:
    global _first
    if _first:
        _first = False
    else:
        _reset()  # noqa: F821  annotated above, and found in `threading`


def skip_thread_reset() -> None:
    """Make forked tasks skip the clean-up of `threading` after a fork, if it has nothing to do.

    In the child of a process with one thread it replaces objects by equal ones. It touches 120
    pages for that, each of which the kernel then copies: a third of the cost of a fork
    (`python benchmarks/fork_cost.py`). The hook cannot be unregistered, so its code is replaced by
    one that skips the first call in each process, which comes from the launcher's fork; when a task
    forks, it does what it always did.
    """
    if sys.version_info[:2] > TRIED_PYTHON:
        return
    hook = threading._after_fork  # type: ignore[attr-defined]
    # A module may have replaced it.
    ours = hook.__globals__ is threading.__dict__ and hook.__closure__ is None
    if ours and threading.active_count() == 1:
        reset = type(hook)(hook.__code__, threading.__dict__)
        threading.__dict__.update(_first=True, _reset=reset)
        hook.__code__ = _after_fork.__code__


class ProcessHandle:
    """A started process: a pidfd to signal it, and its exit code and usage once it has ended."""

    pid: int
    returncode: int | None = None
    pidfd: int = -1
    # Whether only the launcher reaps it, so that its pid is its own until then.
    reaped_here = True
    # Whether the process has ended and its exit code cannot be known any more.
    exit_unknown = False
    # A descriptor that becomes readable when the process ends.
    exit_fd: int = -1
    # The raw status of wait(2), the CPU time in seconds and the peak memory in bytes; None if
    # another process reaps it.
    status: int | None = None
    cpu: float | None = None
    max_rss: int | None = None

    def start_ticks(self) -> int | None:
        """When the process began, in clock ticks since boot; None if that cannot be known."""
        return procfs.start_ticks(self.pid)

    def open_pidfd(self) -> None:
        """Open the pidfd of a child that is not reaped yet; kill the child if that fails."""
        try:
            self.pidfd = self.exit_fd = pidfd_signals.open_pidfd(self.pid)
        except OSError:
            if _reserve:
                release_reserve()
                return self.open_pidfd()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        private_descriptors.add(self.pidfd)

    def has_ended(self) -> bool:
        """Whether a child has ended and can be reaped. Raises ChildProcessError if it was reaped before."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Reap the process if it has ended; its exit code, negative for a signal, else None."""
        if self.returncode is None:
            try:
                found = wait(self.pid, flag)
            except ChildProcessError:
                # A module's handler of SIGCHLD has reaped it.
                self.exit_unknown = True
                return None
            if found is not None:
                self.status, self.cpu, self.max_rss = found
                self.returncode = waitstatus_to_exitcode(found[0])
        return self.returncode

    def close(self) -> None:
        """Close the launcher's descriptors for this process."""
        if self.pidfd >= 0:
            private_descriptors.discard(self.pidfd)
            _close_pidfd(self.pidfd)
            self.pidfd = -1


class Fork(ProcessHandle):
    """A copy of the launcher that runs the `request` of `process`.

    Because of its pidfd it needs no pipes, unlike a process that multiprocessing starts.
    Raises OSError if the machine has no room for a process.
    """

    def __init__(self, process: Process | Child, barrier: int = -1) -> None:
        if not _reserve:
            reserve_descriptors()
        pid = fork()
        if pid == 0:
            code = 1
            try:
                code = process._bootstrap(None, barrier)
            finally:
                os._exit(code)
        if armed:
            failpoints.reached("launcher.forked")
        self.pid = pid
        try:
            self.pidfd = self.exit_fd = pidfd_open(pid)
            private_descriptors.add(self.pidfd)
        except OSError:
            self.open_pidfd()


class HeldFork(Fork):
    """A fork that waits at a barrier before it begins its attempt, and opens none of its files before.

    Raises OSError if there is no room for a process or a descriptor. Like every fork it dies with
    the launcher. `ticks` is when the process began, in clock ticks since boot.
    """

    def __init__(self, process: Process) -> None:
        before = procfs.boot_ticks()
        # Not a pipe: writing to one that no process reads may kill the launcher, because a module may
        # have reset SIGPIPE.
        self._barrier = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            super().__init__(process, self._barrier)
        except OSError:
            close(self._barrier)
            raise
        private_descriptors.add(self._barrier)
        self.ticks = before if before == procfs.boot_ticks() else procfs.start_ticks(self.pid)

    def release(self) -> HeldFork:
        """Let it begin its attempt. Raises ChildProcessError if it has been killed."""
        if self.ticks is None or self.has_ended():
            raise ChildProcessError
        os.eventfd_write(self._barrier, 1)
        self._close_barrier()
        return self

    def discard(self) -> None:
        """Kill and reap it: its attempt will not start, or not in this process."""
        self._close_barrier()
        # A module's handler of SIGCHLD may have reaped it, and its pid may be another process's.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            pidfd_signals.send(self.pid, self.pidfd, signal.SIGKILL)
            wait(self.pid, 0)
        self.close()

    def _close_barrier(self) -> None:
        private_descriptors.discard(self._barrier)
        close(self._barrier)

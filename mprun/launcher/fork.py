"""How a task's process is forked, and how the end of any task's process is seen.

Whoever reaps a process first gets its status and its usage, so both are taken where it is
reaped (`ProcessHandle.poll`). A pidfd says when that is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from os import close, closerange, fork, pidfd_open, waitstatus_to_exitcode

from mprun import failpoints
from mprun.linux import procfs
from mprun.linux.wait4 import wait

# As in `typing`, which takes longer to import than all else that a launcher needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.launcher.worker import Process

# What belongs to the launcher alone: a fork of it closes it before anything else, since
# a socket held by a task hides the launcher's end, and a pidfd held keeps epoll reporting.
private_descriptors: set[int] = set()
# So many are seldom scattered: most are the pidfds of tasks that run, which got the next free numbers.
MANY = 32


def keep_descriptors_private() -> None:
    """Have every fork of this process close them: also one that a module makes at its import."""
    os.register_at_fork(after_in_child=_close_private_descriptors)


def _close_private_descriptors() -> None:
    if len(private_descriptors) > MANY:
        first, last = min(private_descriptors), max(private_descriptors)
        if last - first < len(private_descriptors):
            # One call of the kernel for all.
            closerange(first, last + 1)
            private_descriptors.clear()
    for descriptor in private_descriptors:
        close(descriptor)
    # The child may get these numbers for its own files, and fork in its turn.
    private_descriptors.clear()


# A descriptor for the pidfd of a fork that finds no other: it is too late then to start none.
_spare: list[int] = []


def _keep_a_spare() -> None:
    # Of the log, which is open: a module may have closed standard input.
    _spare.append(os.dup(1))
    private_descriptors.update(_spare)


def _give_up_the_spare() -> None:
    private_descriptors.difference_update(_spare)
    close(_spare.pop())


# Readable once the launcher has ended: what multiprocessing.parent_process() waits for.
launcher_pidfd: list[int] = []


# The newest Python whose `threading` was checked: what its hook does, and that it is code without a closure.
TRIED_PYTHON = (3, 15)

# The names that the hook below finds in `threading`: whether it is its first turn in this
# process, and what it takes the place of.
_first: bool
_reset: Callable[[], None]


def _after_fork() -> None:
    global _first
    if _first:
        _first = False
    else:
        _reset()  # noqa: F821  annotated above, and found in `threading`


def skip_thread_reset() -> None:
    """Spare forked tasks threading's own clean-up after a fork, while there is nothing to clean.

    In a child of a process with one thread it replaces what is there by what is the same,
    and to do so it touches 120 pages, each of which the kernel then copies: a third of the
    whole cost of a fork (`python benchmarks/fork_cost.py`). The hook cannot be taken back,
    so it is given code that leaves out its first turn in each process, which is the launcher's
    fork; when a task forks, it does what it always did.
    """
    if sys.version_info[:2] > TRIED_PYTHON:
        return
    hook = threading._after_fork  # type: ignore[attr-defined]
    # A module may have put something of its own in its place.
    ours = hook.__globals__ is threading.__dict__ and hook.__closure__ is None
    if ours and threading.active_count() == 1:
        reset = type(hook)(hook.__code__, threading.__dict__)
        threading.__dict__.update(_first=True, _reset=reset)
        hook.__code__ = _after_fork.__code__


class ProcessHandle:
    """A process that was started: a pidfd for signals, and the end as the kernel tells it."""

    pid: int
    returncode: int | None = None
    pidfd: int = -1
    # Whether nobody but the launcher reaps it: until then its number is its own.
    reaped_here = True
    # Whether nobody can say any more how it ended.
    lost = False
    # A descriptor that is readable once the process has ended.
    waiter: int = -1
    # The raw status of wait(2), the CPU time in seconds and the peak of memory in bytes; None
    # where somebody else reaped.
    status: int | None = None
    cpu: float | None = None
    max_rss: int | None = None

    def open_pidfd(self) -> None:
        """Open the pidfd of a child that nobody has reaped; kill it where that fails."""
        try:
            self.pidfd = self.waiter = pidfd_open(self.pid)
        except OSError:
            if _spare:
                _give_up_the_spare()
                return self.open_pidfd()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        private_descriptors.add(self.pidfd)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code, negative for a signal, once the process has ended; reaps it."""
        if self.returncode is None:
            try:
                found = wait(self.pid, flag)
            except ChildProcessError:
                # A module's handler of SIGCHLD was first.
                self.lost = True
                return None
            if found is not None:
                self.status, self.cpu, self.max_rss = found
                self.returncode = waitstatus_to_exitcode(found[0])
        return self.returncode

    def close(self) -> None:
        """Close what the launcher holds of this process."""
        if self.pidfd >= 0:
            private_descriptors.discard(self.pidfd)
            close(self.pidfd)
            self.pidfd = -1


class Fork(ProcessHandle):
    """A copy of the launcher, in which `process` is the process of one attempt.

    It has neither the pipes nor the Popen of multiprocessing's own start: a pidfd makes
    them superfluous. Raises OSError where there is no room for a process.
    """

    def __init__(self, process: Process, gate: int = -1) -> None:
        if not _spare:
            _keep_a_spare()
        pid = fork()
        if pid == 0:
            code = 1
            try:
                code = process._bootstrap(None, gate)
            finally:
                os._exit(code)
        if failpoints.armed:
            failpoints.reached("launcher.forked")
        self.pid = pid
        try:
            self.pidfd = self.waiter = pidfd_open(pid)
            private_descriptors.add(self.pidfd)
        except OSError:
            self.open_pidfd()


class HeldFork(Fork):
    """A fork that waits at a gate before it begins its attempt, and touches none of its files before.

    Raises OSError where there is no room for a process, or for the gate. It ends with the
    launcher, as any fork, and where the launcher gives it up. `ticks` is when it began, in
    clock ticks since boot: before its attempt does.
    """

    def __init__(self, process: Process) -> None:
        before = procfs.boot_ticks()
        # An eventfd, as a write to a pipe that nobody reads may end the launcher: a module may have
        # set SIGPIPE back.
        self._gate = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            super().__init__(process, self._gate)
        except OSError:
            close(self._gate)
            raise
        private_descriptors.add(self._gate)
        self.ticks = before if before == procfs.boot_ticks() else procfs.start_ticks(self.pid)

    def open(self) -> HeldFork:
        """Let it go on. Raises ChildProcessError where somebody has ended it."""
        if self.ticks is None or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise ChildProcessError
        os.eventfd_write(self._gate, 1)
        self._close_gate()
        return self

    def give_up(self) -> None:
        """End it: its attempt will not start, or not in it."""
        self._close_gate()
        # A module's handler of SIGCHLD may have reaped it, and its number may be another's.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            wait(self.pid, 0)
        self.close()

    def _close_gate(self) -> None:
        private_descriptors.discard(self._gate)
        close(self._gate)

"""How a task's process is started under each start method, and how its end is seen.

The classes are multiprocessing's own `Popen`s; they add a descriptor that becomes
readable when the process ends (`waiter`) and keep what `wait4` says of it: whoever reaps
first gets the status and the usage, so both are taken in `poll`, where multiprocessing
takes them.
"""

from __future__ import annotations

import atexit
import os
import signal
from multiprocessing import forkserver, popen_fork, popen_forkserver, popen_spawn_posix, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resource import struct_rusage

    from mprun.worker import Process

# What belongs to the launcher alone: a forked task closes it before anything else, since
# a socket held by a task hides the launcher's end, and a pidfd held keeps epoll reporting.
private_descriptors: set[int] = set()
# Readable once the launcher has ended: what multiprocessing.parent_process() waits for.
launcher_pidfd: list[int] = []


class _Pidfd:
    """The part that all three share: a pidfd for signals, and the end as the kernel tells it."""

    pid: int
    returncode: int | None
    pidfd: int = -1
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


class ForkPopen(_Pidfd, popen_fork.Popen):
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
            for descriptor in private_descriptors:
                os.close(descriptor)
            # As multiprocessing does from Python 3.12 on: the task runs what it
            # registers itself, not what the launcher had registered.
            atexit._clear()
            atexit.register(util._exit_function)
            code = process._bootstrap(parent_sentinel=launcher_pidfd[0])
            atexit._run_exitfuncs()
        finally:
            os._exit(code)


class SpawnPopen(_Pidfd, popen_spawn_posix.Popen):
    """A new Python, started by the launcher."""

    def _launch(self, process: Process) -> None:
        super()._launch(process)
        self.open_pidfd()

    def close(self) -> None:
        _Pidfd.close(self)
        popen_spawn_posix.Popen.close(self)


class ForkServerPopen(_Pidfd, popen_forkserver.Popen):
    """A copy of the fork server, which reaps it and passes its exit code on."""

    def _launch(self, process: Process) -> None:
        super()._launch(process)
        private_descriptors.add(self.sentinel)
        self._open_pidfd_of_stranger()

    @property
    def waiter(self) -> int:
        """The fork server's pipe: by the time it speaks, the process is reaped."""
        return int(self.sentinel)

    def _open_pidfd_of_stranger(self) -> None:
        """Open the pidfd, unless the process is over already and its pid may be another's."""
        from mprun.procfs import read_stat

        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return
        stat = read_stat(self.pid)
        if stat is not None and stat.ppid == fork_server_pid():
            self.pidfd = pidfd
            private_descriptors.add(pidfd)
        else:
            os.close(pidfd)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code that the fork server passes on; None in `status`: nobody tells more."""
        if self.returncode is None:
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                # The fork server is gone. multiprocessing would say 255; nobody knows.
                self.lost = True
        return self.returncode

    lost = False

    def close(self) -> None:
        _Pidfd.close(self)
        private_descriptors.discard(self.sentinel)
        popen_forkserver.Popen.close(self)


POPENS: dict[str, Any] = {"fork": ForkPopen, "spawn": SpawnPopen, "forkserver": ForkServerPopen}


def fork_server_pid() -> int | None:
    """The pid of multiprocessing's fork server, None before it was started."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


def helper_pids() -> set[int]:
    """The processes that multiprocessing itself keeps as children of the launcher."""
    from multiprocessing import resource_tracker

    tracker: int | None = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    return {pid for pid in (fork_server_pid(), tracker) if pid is not None}

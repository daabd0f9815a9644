"""How a task's process is started by a new Python, or by multiprocessing's fork server."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from multiprocessing import forkserver, popen_fork, popen_forkserver, popen_spawn_posix

from mprun import failpoints
from mprun.launcher import environment, fork, reaper, start_backoff
from mprun.launcher.channel import KEY, NAME, START_METHOD
from mprun.launcher.worker import IS_TRIED, Process
from mprun.linux.procfs import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


# How long the fork server may take to start a task, in seconds: it does nothing else.
PATIENCE = 10.0
NO_ANSWER = "the fork server does not answer"


def start(request: tuple[Any, ...], default: str) -> fork.ProcessHandle:
    """Have a new Python, or a copy of the fork server, become the process of an attempt.

    `request` has the fields of `PROCESS_REQUEST`; `default` is the start method of the job.
    Raises OSError if no process can be started.
    """
    method = request[START_METHOD]
    start_backoff.reserve()
    if method == "forkserver" and not _fork_server_lives():
        # multiprocessing would start another, which would know nothing of the job.
        raise _no_fork_server()
    environment.tag_attempt(request[NAME], request[KEY][1])
    try:
        # multiprocessing's own `Process.start` first polls every child that runs, which costs a
        # system call each; here whoever started it waits for it.
        held = POPENS[method](process_class()(default, method, request))
    except (EOFError, ConnectionError):
        if method == "forkserver":
            raise _no_fork_server() from None
        raise
    if failpoints.armed:
        failpoints.reached("launcher.forked")
    return held


def process_class() -> type[Process]:
    """The class of a task's process; on a Python that no one has tried, the portable one."""
    if IS_TRIED:
        return Process
    from mprun.launcher import portable_process

    return portable_process.Process


def _no_fork_server() -> OSError:
    return OSError(errno.ESRCH, "the fork server is gone")


def _fork_server_lives() -> bool:
    stat = read_stat(fork_server_pid() or 0)
    lives = stat is not None and stat.is_alive and stat.ppid == os.getpid()
    return lives and not ForkServerPopen.server_is_gone


class ForkPopen(fork.ProcessHandle, popen_fork.Popen):
    """A copy of the launcher, forked by multiprocessing: on a Python that no one has tried."""

    def _launch(self, process: Process) -> None:
        super()._launch(process)  # type: ignore[misc]
        self.open_pidfd()
        fork.private_descriptors.update(_pipes(self))

    def close(self) -> None:
        fork.ProcessHandle.close(self)
        fork.private_descriptors.difference_update(_pipes(self))
        popen_fork.Popen.close(self)


class SpawnPopen(ForkPopen, popen_spawn_posix.Popen):
    """A new Python, started by the launcher."""


class ForkServerPopen(fork.ProcessHandle, popen_forkserver.Popen):
    """A copy of the fork server, which reaps it and passes its exit code on."""

    reaped_here = False
    # Known from the end of one of its tasks, before the kernel shows it.
    server_is_gone = False

    def _launch(self, process: Process) -> None:
        with _answered_in_time():
            super()._launch(process)  # type: ignore[misc]
        fork.private_descriptors.update(_pipes(self))
        # The fork server's pipe: by the time it speaks, the process is reaped.
        self.waiter = int(self.sentinel)
        self._open_pidfd_of_stranger()

    def _open_pidfd_of_stranger(self) -> None:
        """Open the pidfd, unless the process is over already and its pid may be another's."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return
        stat = read_stat(self.pid)
        if stat is not None and stat.ppid == fork_server_pid():
            self.pidfd = pidfd
            fork.private_descriptors.add(pidfd)
        else:
            os.close(pidfd)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code that the fork server passes on; None in `status`: nobody tells more."""
        if self.returncode is None:
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                # The fork server is gone. multiprocessing would say 255; nobody knows.
                self.lost = ForkServerPopen.server_is_gone = True
        return self.returncode

    lost = False

    def close(self) -> None:
        fork.ProcessHandle.close(self)
        fork.private_descriptors.difference_update(_pipes(self))
        popen_forkserver.Popen.close(self)


@contextlib.contextmanager
def _answered_in_time() -> Iterator[None]:
    """End a fork server that does not answer, as it would be waited for without a limit.

    One that was stopped goes on first. What does not answer then has the request, and would
    start the task some time: then nobody would look after it. Its other tasks end with it,
    and nobody sees how. Raises OSError.
    """

    def give_up(number: int, frame: object) -> None:
        if not reaper.wake(fork_server_pid() or 0):
            raise TimeoutError(errno.ETIMEDOUT, NO_ANSWER)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    except TimeoutError:
        if server := fork_server_pid():
            # A child of ours, and multiprocessing reaps it only where it starts another.
            os.kill(server, signal.SIGKILL)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _pipes(held: Any) -> list[int]:
    """The ends that multiprocessing keeps of a task's pipes: what its finalizer would close.

    One is the sentinel. A forked task that held the other would hide the launcher's end
    from a task that waits for multiprocessing.parent_process().
    """
    return list(held.finalizer._args) if held.finalizer.still_active() else []


def fork_server_pid() -> int | None:
    """The pid of multiprocessing's fork server, None before it was started."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


POPENS: dict[str, Callable[[Process], fork.ProcessHandle]] = {
    "fork": ForkPopen,
    "spawn": SpawnPopen,
    "forkserver": ForkServerPopen,
}

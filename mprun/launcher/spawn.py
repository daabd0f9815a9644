"""Starts the processes of tasks as a new Python, or through multiprocessing's fork server."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from multiprocessing import (
    forkserver,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from multiprocessing.context import set_spawning_popen

from mprun import failpoints
from mprun.failpoints import armed
from mprun.launcher import (
    end_marks,
    environment,
    fork,
    start_backoff,
    start_error,
    targets,
    task_trees,
    worker,
)
from mprun.launcher.channel import KEY, NAME, START_METHOD
from mprun.launcher.worker import IS_TRIED, Process
from mprun.linux import pidfd_signals, pipe_close, procfs
from mprun.linux.procfs import read_stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


# How long the fork server, which has nothing else to do, may take to start a task, in seconds.
FORK_SERVER_TIMEOUT = 10.0
NO_ANSWER = "the fork server does not answer"


def start(request: tuple[Any, ...], default: str) -> fork.ProcessHandle:
    """Start the process of an attempt as a new Python, or as a copy of the fork server.

    `request` has the fields of `PROCESS_REQUEST`; `default` is the start method of the job.
    Raises OSError if no process can be started.
    """
    method = request[START_METHOD]
    start_backoff.require_free_descriptors()
    if method == "forkserver" and not _is_fork_server_alive():
        # multiprocessing would start another one, which has not imported the modules of the job.
        raise _no_fork_server()
    environment.tag_attempt(request[NAME], request[KEY][1])
    try:
        process = process_class()(default, method, request)
        process.inherited_marks = end_marks.InheritedMarks()
        process.inherited_folders = _InheritedFolders()
        if start_error.redact is not None:
            process.secrets = _secrets()
        if method == "spawn":
            process.inherited_path = _InheritedPath()
        # Not `Process.start`, which first polls every running child with a system call.
        with targets.without_job_path() if method == "spawn" else contextlib.nullcontext():
            handle = POPENS[method](process)
    except (EOFError, ConnectionError):
        if method == "forkserver":
            raise _no_fork_server() from None
        raise
    if armed:
        failpoints.reached("launcher.forked")
    return handle


class _InheritedPath:
    """Sets the import path in the process that receives this object, pickled.

    multiprocessing would set it before the process imports mprun, which might find a module of the job in the
    place of one of Python's.
    """

    def __init__(self) -> None:
        self._path = [*sys.path]

    def __reduce__(self) -> Any:
        return worker.set_import_path, (self._path,)


class _InheritedFolders:
    """Makes the directories of the run known in the process that receives this object, pickled."""

    def __reduce__(self) -> Any:
        return worker.hold_inherited_folders, (reduction.DupFd(worker.logs), worker.results)


def _secrets() -> tuple[str, ...]:
    """What a fork has from the launcher: what its messages must not contain."""
    from mprun.diagnostics import secrets

    return tuple(secrets())


def process_class() -> type[Process]:
    """The class of a task's process; on a Python that no one has tried, the portable one."""
    if IS_TRIED:
        return Process
    from mprun.launcher import portable_process

    return portable_process.Process


def _no_fork_server() -> OSError:
    return OSError(errno.ESRCH, "the fork server is gone")


def _is_fork_server_alive() -> bool:
    if ForkServerPopen.server_is_gone or not (server := fork_server_pid()):
        return False
    try:
        return os.waitid(os.P_PID, server, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


class ForkPopen(fork.ProcessHandle, popen_fork.Popen):
    """A copy of the launcher, forked by multiprocessing: for a Python that no one has tried."""

    def _launch(self, process: Process) -> None:
        super()._launch(process)  # type: ignore[misc]
        self.open_pidfd()
        fork.private_descriptors.update(_pipes(self))

    def close(self) -> None:
        fork.ProcessHandle.close(self)
        fork.private_descriptors.difference_update(_pipes(self))
        popen_fork.Popen.close(self)


class _GuardedSpawn(popen_spawn_posix.Popen):
    """What multiprocessing does, but the kernel kills the new Python if the launcher ends while it starts.

    It sets its parent-death signal itself, after its imports; until then it would notice the launcher's
    end only when it reads its data.
    """

    def _launch(self, process: Process) -> None:
        if not IS_TRIED:
            super()._launch(process)  # type: ignore[misc]
            return
        tracker = resource_tracker.getfd()
        data = _pickled(self, process)
        self.sentinel, of_child = os.pipe()
        try:
            reader, writer = os.pipe()
        except OSError:
            # There are no more descriptors; the start is tried again.
            os.close(self.sentinel)
            os.close(of_child)
            raise
        # Closed by the last line of multiprocessing's own `close`; also after an error.
        self.finalizer = util.Finalize(self, util.close_fds, (self.sentinel, writer))  # type: ignore[attr-defined]
        try:
            command = spawn.get_command_line(tracker_fd=tracker, pipe_handle=reader)
            inherited = [*self._fds, tracker, reader, of_child]  # type: ignore[attr-defined]
            self.pid = util.spawnv_passfds(spawn.get_executable(), command, inherited)  # type: ignore[arg-type]  # str is right, too
            # The process has this end of the sentinel's pipe for its life, and no one writes to it.
            pipe_close.kill_when_closed(of_child, self.pid)
        finally:
            os.close(of_child)
            os.close(reader)
        with open(writer, "wb", closefd=False) as pipe:
            pipe.write(data.getbuffer())


class SpawnPopen(ForkPopen, _GuardedSpawn):
    """A new Python, started by the launcher."""


class ForkServerPopen(fork.ProcessHandle, popen_forkserver.Popen):
    """A copy of the fork server, which reaps it and sends its exit code."""

    reaped_here = False
    # One of its tasks may show that it is gone before the kernel does.
    server_is_gone = False
    _start_ticks: int | None = None

    def _launch(self, process: Process) -> None:
        with _answered_in_time():
            if IS_TRIED:
                self._launch_in_two_steps(process)
            else:
                super()._launch(process)  # type: ignore[misc]
                self._identify()
        fork.private_descriptors.update(_pipes(self))
        # The pipe from the fork server, which reaps the process before it writes.
        self.exit_fd = int(self.sentinel)

    def _launch_in_two_steps(self, process: Process) -> None:
        """What multiprocessing does, but look at the process before it gets its data, and so can end."""
        data = _pickled(self, process)
        self.sentinel, writer = forkserver.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        ends = os.dup(writer), self.sentinel
        self.finalizer = util.Finalize(self, util.close_fds, ends)  # type: ignore[attr-defined]
        with open(writer, "wb") as pipe:
            self.pid = forkserver.read_signed(self.sentinel)
            self._identify()
            pipe.write(data.getbuffer())

    def start_ticks(self) -> int | None:
        return self._start_ticks

    def _identify(self) -> None:
        """Take the start and the pidfd, unless it has ended already and its pid may be another process's."""
        pidfd = -1
        with contextlib.suppress(OSError):
            pidfd = pidfd_signals.open_pidfd(self.pid)
        stat = read_stat(self.pid)
        # Without /proc nothing shows that it is not: it has been forked just now.
        is_ours = stat.ppid == fork_server_pid() if stat is not None else not procfs.is_readable()
        self._start_ticks = stat.start_ticks if stat is not None and is_ours else None
        if pidfd < 0:
            return
        if is_ours:
            self.pidfd = pidfd
            fork.private_descriptors.add(pidfd)
        else:
            pidfd_signals.close_pidfd(pidfd)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code that the fork server sends; it does not send the `status`."""
        if self.returncode is None:
            try:
                self.returncode = forkserver.read_signed(self.sentinel)
            except (OSError, EOFError):
                # The fork server is gone, and the exit code unknown. multiprocessing would return 255.
                self.exit_unknown = ForkServerPopen.server_is_gone = True
        return self.returncode

    def close(self) -> None:
        fork.ProcessHandle.close(self)
        fork.private_descriptors.difference_update(_pipes(self))
        popen_forkserver.Popen.close(self)


def _pickled(popen: Any, process: Process) -> io.BytesIO:
    """What a new Python needs to be a process; `popen` collects the descriptors that it inherits."""
    data = io.BytesIO()
    set_spawning_popen(popen)
    try:
        reduction.dump(_preparation(process.name), data)
        reduction.dump(process, data)
    finally:
        set_spawning_popen(None)
    return data


def _preparation(name: str) -> dict[str, Any]:
    try:
        data = spawn.get_preparation_data(name)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "the working directory was removed") from None
    if not os.access(data["dir"], os.X_OK):
        # It has this directory from its parent, and could not change to it by its path.
        del data["dir"]
    return data


@contextlib.contextmanager
def _answered_in_time() -> Iterator[None]:
    """Kill a fork server that does not answer, because multiprocessing would wait for it without a limit.

    One that was stopped (SIGSTOP) is resumed first. It must be killed, because it has the request,
    and would start the task at some time when the launcher does not expect it. Its other tasks die
    with it, with unknown exit codes. Raises TimeoutError.
    """

    def give_up(number: int, frame: object) -> None:
        if not task_trees.wake(fork_server_pid() or 0):
            raise TimeoutError(errno.ETIMEDOUT, NO_ANSWER)
        signal.setitimer(signal.ITIMER_REAL, FORK_SERVER_TIMEOUT)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, FORK_SERVER_TIMEOUT)
    try:
        yield
    except TimeoutError:
        if server := fork_server_pid():
            # A child of this process; multiprocessing reaps it only when it starts another one.
            os.kill(server, signal.SIGKILL)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _pipes(popen: Any) -> list[int]:
    """The pipe ends that multiprocessing keeps open for a task, which its finalizer would close.

    One is the sentinel. If a forked task had the other one open, the task to which it belongs
    would not see the launcher's end in multiprocessing.parent_process().
    """
    return list(popen.finalizer._args) if popen.finalizer.still_active() else []


def fork_server_pid() -> int | None:
    """The pid of multiprocessing's fork server; None if it has not been started."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return pid


POPENS: dict[str, Callable[[Process], fork.ProcessHandle]] = {
    "fork": ForkPopen,
    "spawn": SpawnPopen,
    "forkserver": ForkServerPopen,
}

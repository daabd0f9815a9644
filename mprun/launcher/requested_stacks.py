"""Asks a process for the stacks of its threads, and reads what it writes.

A handler in C writes them (`faulthandler`), because the task may hang in C code. It writes in many pieces,
the innermost call first, and with the frames of mprun. So it writes into a file in memory, which the
launcher reads; `mprun.launcher.stack_text` makes of it what the log gets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from mprun.launcher import fork, worker
from mprun.launcher.worker import SETTLE_SECONDS, SHARED_STACKS_NAME, STACKS_NAME
from mprun.linux import pidfd_signals, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mprun.launcher.channel import AttemptKey

    # The name of the signal, the title of a dump that comes before it, and who gets it: the group or the
    # process.
    SignalRequest = tuple[AttemptKey, str, str, str]

# How long a task may take to write its stacks, in seconds.
TIMEOUT = 0.2
# More is not read, in bytes: faulthandler writes at most 100 frames of 100 threads.
MAX_BYTES = 1 << 20


def request_text(pid: int, pidfd: int, title: str) -> RequestedStacks | None:
    """Ask a process for its stacks, to be read below a title, and not for its log; None if it cannot.

    No other process is to be asked until they are read: forks write into the same file.
    """
    requested = ask(pid, pidfd, (STACKS_NAME, SHARED_STACKS_NAME))
    return RequestedStacks(title, pid, *requested) if requested is not None else None


class RequestedStacks:
    """What a process writes into the file `stacks`, which had `begin` bytes before."""

    def __init__(self, title: str, pid: int, stacks: int, begin: int = 0) -> None:
        self._title = title
        self._pid = pid
        self._stacks = stacks
        self._begin = self._size = begin
        self._requested = self._changed = time.monotonic()

    def is_finished(self) -> bool:
        """Whether the stacks are complete, or have taken too long."""
        now = time.monotonic()
        size = os.fstat(self._stacks).st_size
        if size != self._size:
            self._size, self._changed = size, now
        is_complete = self._size > self._begin and now - self._changed >= SETTLE_SECONDS
        return bool(is_complete) or now - self._requested >= TIMEOUT

    def read(self) -> str:
        """The stacks so far, empty if there are none, and close the file."""
        try:
            dumped = os.pread(self._stacks, MAX_BYTES, self._begin).decode("utf-8", "replace")
            return self._describe(dumped) if dumped else ""
        finally:
            _close(self._stacks)

    def _describe(self, dumped: str) -> str:
        """The stacks as a traceback shows them, or as they were dumped if that fails."""
        try:
            worker.import_standard("mprun.launcher.stack_text")
            from mprun.launcher import stack_text

            stat = procfs.read_stat(self._pid)
            return stack_text.describe(dumped, self._title, stat.threads if stat is not None else 0)
        except Exception:
            return f"{self._title}; stacks:\n{dumped}"


class Dump(RequestedStacks):
    """One attempt's dump, which goes into its log, and the request for the signal that is due after it."""

    def __init__(
        self, request: SignalRequest, title: str, log: str, pid: int, stacks: int, begin: int = 0
    ) -> None:
        super().__init__(title, pid, stacks, begin)
        self.request = request
        self._log = log

    def write_to_log(self) -> None:
        """Append the stacks to the log, if that is possible."""
        # There may be no free descriptor, or no room on the disk. Whatever it is, the run continues.
        with contextlib.suppress(Exception):
            if text := self.read():
                from mprun.launcher.own_files import append

                append(worker.logs, self._log, text)


def ask(pid: int, pidfd: int, names: tuple[str, ...]) -> tuple[int, int] | None:
    """Send a process SIGUSR2, for which the worker has a handler; a descriptor of what the handler writes.

    With it, how much is in the file already, in bytes: its stacks may have been asked for before.

    None if it would not help. A process that has exec'd a program has no handlers any more, and would be
    killed. A stopped one would have to be resumed, and would run on before it is asked to end. One that has
    closed the file may have another one of its own in its place.
    """
    stat = procfs.read_stat(pid)
    if stat is None or stat.state in "Tt" or not procfs.handles_signal(pid, signal.SIGUSR2):
        return None
    stacks = None
    try:
        stacks = next(filter(None, (_open_stacks(pid, name) for name in names)), None)
        if stacks is None:
            return None
        begin = os.fstat(stacks).st_size
        pidfd_signals.send(pid, pidfd, signal.SIGUSR2)
    except OSError:
        if stacks is not None:
            _close(stacks)
        return None
    return stacks, begin


def _open_stacks(pid: int, name: str) -> int | None:
    """Open the file in memory of this name into which a process writes its stacks; None if it has none."""
    directory = f"/proc/{pid}/fd"
    for descriptor in os.listdir(directory):
        path = f"{directory}/{descriptor}"
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path).startswith(f"/memfd:{name} "):
                stacks = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                fork.private_descriptors.add(stacks)
                return stacks
    return None


def _close(stacks: int) -> None:
    fork.private_descriptors.discard(stacks)
    os.close(stacks)

"""The keeper: a process that drains the output of commands into their logs if the launcher is killed.

What a pipe holds is lost with the last process that has it open for reading. The keeper has every
pipe open, and does nothing until the launcher ends. It is in a session of its own, because who
kills the launcher may kill its group. A process that still has such a pipe open when it ends is part of a
command whose run is gone: the keeper kills it, because later nothing might show what it was part of.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import select
import signal
import sys
from _socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from time import monotonic

from mprun.launcher import fork, worker
from mprun.launcher.own_files import open_own
from mprun.linux import prctl
from mprun.linux.pidfd_signals import pidfd_open
from mprun.linux.splice import move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable

# How long it waits for processes that survive the launcher and may write, in seconds.
GRACE_SECONDS = 1.0
# For how long it kills those processes again and again, and the pause between, in seconds.
KILL_SECONDS = 0.5
KILL_INTERVAL = 0.001
# The table of logs has an entry of this size for each pipe: a file name (NAME_MAX) and a NUL.
_ENTRY_BYTES = 256
# So many pipes at most, far more than a process may have open.
_SLOTS = 1 << 14
_SLOT_BYTES = _DESCRIPTOR_BYTES = 4
# What a message is about.
_PIPE, _DRAINER = 0, 1
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class Keeper:
    """The launcher's side of it: hands over the pipes, and notes the log of each in shared memory."""

    def __init__(self) -> None:
        """Start the process. Raises OSError if there is no room for it."""
        if worker.IS_TRIED and worker.run_tag != worker.TAG:
            # It uses this at its end, when mprun may have been replaced by another version.
            worker.import_standard("mprun.linux.starting_tags")
        self._table = mmap.mmap(-1, _SLOTS * _ENTRY_BYTES)
        self._sock, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._run(theirs)
        except OSError:
            self._sock.close()
            raise
        finally:
            theirs.close()
        # What it was not told because the socket was full: the descriptor of a pipe, or -1, by slot.
        self.untold: dict[int, int] = {}
        self._table.madvise(mmap.MADV_DONTFORK)
        fork.private_descriptors.add(self._sock.fileno())

    def _run(self, sock: socket) -> None:
        """What the process does; does not return."""
        try:
            # As little as possible: each page that this touches is copied. Terminals signal other sessions.
            os.setsid()
            # In a launcher without a standard descriptor it may be one of those that are kept.
            self._sock.close()
            close_all_but(sock.fileno(), fork.launcher_pidfd[0], worker.logs)
            set_name()
            pipes, drainers = _receive(sock)
            # The socket is closed some time before the tasks are sent their parent-death signal.
            _poll([fork.launcher_pidfd[0]], None)
            if worker.IS_TRIED and worker.run_tag != worker.TAG:
                # Whatever happens there, the output is drained.
                with contextlib.suppress(Exception):
                    _kill_starting()
            # Killed with the launcher. What they are moving at this moment must be in the logs.
            for drainer in drainers.values():
                _poll([drainer], None)
            self._drain(pipes)
        finally:
            os._exit(0)

    def _drain(self, pipes: dict[int, int]) -> None:
        """Drain the pipes, by slot, until no process writes to them, or for GRACE_SECONDS."""
        slots = {read_end: slot for slot, read_end in pipes.items()}
        deadline = monotonic() + GRACE_SECONDS
        logs: dict[str, int] = {}
        while slots and (left := deadline - monotonic()) > 0:
            for read_end, event in _poll(slots, left):
                with contextlib.suppress(BlockingIOError):
                    # Without anything to read, it has ended; what has printed nothing gets no log.
                    if not event & select.POLLIN or not self._move(read_end, slots[read_end], logs):
                        del slots[read_end]
        if slots:
            _kill_writers(slots)
        for read_end, event in _poll(slots, 0):
            if event & select.POLLIN:
                with contextlib.suppress(BlockingIOError):
                    self._move(read_end, slots[read_end], logs)

    def _move(self, read_end: int, slot: int, logs: dict[str, int]) -> int:
        """Move one pass; 0 if the pipe has ended, or its log cannot be written."""
        log = self._log(slot)
        try:
            # Two pipes may have the same log, and share its position.
            if log not in logs:
                logs[log] = open_own(worker.logs, log, os.O_WRONLY | os.O_CREAT)
                os.lseek(logs[log], 0, os.SEEK_END)
            return move(read_end, logs[log])
        except BlockingIOError:
            raise
        except OSError:
            return 0

    def _log(self, slot: int) -> str:
        start = slot * _ENTRY_BYTES
        return os.fsdecode(self._table[start : start + _ENTRY_BYTES].partition(b"\0")[0])

    # ---- in the launcher

    def check_slot(self, slot: int) -> int:
        """The slot, if the table has it. Raises OSError."""
        if slot >= _SLOTS:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return slot

    def fileno(self) -> int:
        """The descriptor of the socket to it."""
        return self._sock.fileno()

    def hold(self, slot: int, read_end: int) -> None:
        """Have the keeper hold a pipe open until `drop`. It may be `untold` so far."""
        self.untold[slot] = read_end
        self.tell()

    def drop(self, slot: int) -> None:
        """Have it close a pipe. It may be `untold` so far."""
        self.untold[slot] = -1
        self.tell()

    def tell(self) -> None:
        """Send what is untold; a keeper that is stopped or dead does not hold up the launcher."""
        for slot, descriptor in [*self.untold.items()]:
            try:
                self._send(_PIPE, slot, descriptor)
            except BlockingIOError:
                return
            except OSError:
                # There is no keeper any more.
                pass
            del self.untold[slot]

    def announce_drainer(self, slot: int) -> None:
        """Have it wait for the end of this process, which drains a pipe, before it does so itself.

        Raises OSError if it cannot be told.
        """
        self._send(_DRAINER, slot, pidfd_open(os.getpid()))
        # It waits until no process has the other end.
        self._sock.close()

    def _send(self, kind: int, slot: int, descriptor: int = -1) -> None:
        message = bytes((kind,)) + slot.to_bytes(_SLOT_BYTES, "big")
        ancillary = []
        if descriptor >= 0:
            data = descriptor.to_bytes(_DESCRIPTOR_BYTES, sys.byteorder)
            ancillary = [(SOL_SOCKET, SCM_RIGHTS, data)]
        self._sock.sendmsg([message], ancillary, MSG_DONTWAIT | MSG_NOSIGNAL)

    def name_log(self, slot: int, log: str) -> None:
        """Note the log of a pipe; the keeper looks only once the launcher has ended."""
        # What os.fsencode does, which is four objects more.
        entry = log.encode(_ENCODING, _ERRORS) + b"\0"
        start = slot * _ENTRY_BYTES
        self._table[start : start + len(entry)] = entry

    def close(self) -> None:
        """End it."""
        # A module's handler of SIGCHLD may have reaped it, and its pid may be another process's.
        with contextlib.suppress(OSError):
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)


def close_all_but(*kept: int) -> None:
    """Close what the launcher has open: its helpers wait until no process has their pipes."""
    begin = 3
    for descriptor in sorted(kept):
        os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def set_name() -> None:
    """As `prctl.set_name`, with fewer pages."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/comm", os.O_WRONLY)
        os.write(file, prctl.KEEPER_NAME.encode())
        os.close(file)


def _receive(sock: socket) -> tuple[dict[int, int], dict[int, int]]:
    """What the launcher had when it closed its end: the pipes, and the drainers' pidfds, each by slot."""
    pipes: dict[int, int] = {}
    drainers: dict[int, int] = {}
    while True:
        size = 1 + _SLOT_BYTES
        message, ancillary, _, _ = sock.recvmsg(size, CMSG_SPACE(_DESCRIPTOR_BYTES), MSG_CMSG_CLOEXEC)
        if not message:
            return pipes, drainers
        found = drainers if message[0] == _DRAINER else pipes
        slot = int.from_bytes(message[1:], "big")
        if slot in found:
            os.close(found.pop(slot))
        for _, _, data in ancillary:
            found[slot] = int.from_bytes(data[:_DESCRIPTOR_BYTES], sys.byteorder)


def _kill_writers(pipes: Iterable[int]) -> None:
    """Kill the processes that have one of these pipes open for writing, until there are none."""
    from mprun.linux import open_files

    names = {open_files.pipe_name(pipe) for pipe in pipes}
    _kill_each(lambda pid: open_files.writes_pipe(pid, names))


def _kill_starting() -> None:
    """Kill the command that the launcher was starting, which nothing else ends (`command_starts`)."""
    from mprun.linux import starting_tags

    _kill_each(lambda pid: starting_tags.is_starting(pid, worker.run_tag))


def _kill_each(is_meant: Callable[[int], bool]) -> None:
    """Kill the processes of which this is true, until there are none."""
    from mprun.linux import kill_loop, pidfd_signals, procfs

    def look() -> dict[int, procfs.Stat]:
        return {pid: stat for pid, stat in procfs.processes().items() if stat.is_alive and is_meant(pid)}

    def find() -> dict[int, procfs.Stat]:
        # Again, if it found none: a process that was forked meanwhile may be missing from the list.
        return look() or look()

    def kill(found: dict[int, procfs.Stat]) -> None:
        for pid, stat in found.items():
            pidfd_signals.kill(pid, stat.start_ticks)

    kill_loop.kill_until_none_left(find, kill, timeout=KILL_SECONDS, interval=KILL_INTERVAL)


def _poll(descriptors: Iterable[int], seconds: float | None) -> list[tuple[int, int]]:
    """Wait until one of these is readable or has ended, at most for some seconds; those, and how."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return poll.poll(None if seconds is None else 1000 * seconds)

"""The pidfile of a run: which process is running it, so that the next start finds runs that were killed.

A pidfile is a symbolic link `open/RUN-ID` in the state directory, and its content is the target of the
link. So it appears with all its content at once, and reading it opens no file: closing one would
drop a POSIX lock on it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from mprun.linux import procfs
from mprun.record.state_dir import PIDFILES, is_run_id

if TYPE_CHECKING:
    from mprun.record.owner import Owner
    from mprun.record.state_dir import RunDirectory

# The inode of the time namespace of the machine itself, from <linux/nsfs.h>.
_MACHINES_CLOCK = 4026531834
# The pidfiles of this process: it may run several jobs, each in a thread.
_own: set[str] = set()


def namespaces() -> str:
    """The identity of the namespace of the pids that this process sees; "" if unknown.

    With that of its time namespace, by which /proc says when processes began, if it has one of its own.
    """
    pids = procfs.pid_namespace()
    try:
        clock = os.stat("/proc/self/ns/time").st_ino
    except OSError:
        # Before Linux 5.6 there is none.
        return pids
    return pids if clock == _MACHINES_CLOCK else f"{pids}:{clock}"


class PidFile:
    """The pidfile of one run: written at its start, removed when nothing of the run is left."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self._folder = directory.state.folder(PIDFILES)
        self.path = f"{self._folder.path}/{directory.run_id}"

    def write(self) -> None:
        """Say that this process is running the run; if that fails, the run is not found after a kill.

        Only on Linux: elsewhere a process has no start time that proves which one it is.
        """
        if sys.platform != "linux":
            return
        stat = procfs.read_stat(os.getpid())
        if stat is None:
            return
        _own.add(self.path)
        content = " ".join(
            (
                str(os.getpid()),
                str(stat.start_ticks),
                str(procfs.boot_id()),
                os.uname().nodename,
                namespaces(),
            )
        )
        with contextlib.suppress(OSError):
            try:
                self._folder.link(content, self.directory.run_id)
            except FileNotFoundError:
                self.directory.state.make(PIDFILES).link(content, self.directory.run_id)

    def owner(self) -> Owner | None:
        """The process that runs it by its pidfile; None if there is none, or it has other content."""
        # Not at the top: few runs look for others.
        from mprun.record.owner import Owner

        try:
            pid, ticks, boot_id, host = self._folder.read_link(self.directory.run_id).split(" ", 3)
            host, _, namespace = host.partition(" ")
            return Owner(int(pid), int(ticks), boot_id, host, namespace, namespaces())
        except (OSError, ValueError):
            return None

    def remove(self) -> bool:
        """Remove it, because nothing of the run is left; false if there was none."""
        try:
            self._folder.unlink(self.directory.run_id)
        except OSError:
            return False
        finally:
            _own.discard(self.path)
        return True


def runs_of_others(directory: RunDirectory) -> list[str]:
    """The ids of the runs beside this one for which other processes have written pidfiles."""
    folder = directory.state.folder(PIDFILES)
    try:
        names = folder.names()
    except OSError:
        return []
    return [name for name in sorted(names) if f"{folder.path}/{name}" not in _own and is_run_id(name)]

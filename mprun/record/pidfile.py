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
from mprun.record.state_dir import EVENTS, PIDFILES, is_run_id

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory

# The pidfiles of this process: it may run several jobs, each in a thread.
_own: set[str] = set()


class Owner:
    """The process that runs a run, as its pidfile claims: another process may have its pid by now.

    `namespace` is that of its pid, "" if an older mprun has written the pidfile.
    """

    def __init__(self, pid: int, start_ticks: int, boot_id: str, host: str, namespace: str) -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.host = host
        # Whether it started since this machine was booted.
        self.on_this_boot = boot_id == procfs.boot_id()
        # Whether its pid may mean the same process here as there, and whether it certainly does.
        self.may_be_seen = self.on_this_boot and namespace in ("", procfs.pid_namespace())
        self._can_be_seen = self.may_be_seen and namespace != ""

    @property
    def on_this_host(self) -> bool:
        """Whether it ran under this host's name: not on another machine, nor in another container."""
        return self.host == os.uname().nodename

    @property
    def is_alive(self) -> bool:
        """Whether it is still running, as far as can be seen from here."""
        return self.may_be_seen and self._is_running()

    @property
    def has_ended(self) -> bool:
        """Whether it is certain that it has ended."""
        return self._can_be_seen and not self._is_running()

    def _is_running(self) -> bool:
        return procfs.is_alive(self.pid, self.start_ticks)

    def find_writer(self, directory: RunDirectory) -> int | None:
        """Its pid, if it runs this run; None if it has ended, 0 if that cannot be seen.

        A pidfile may be forged: its process is one that has the record open for writing.
        """
        if self.is_alive:
            from mprun.linux.open_files import writes_file

            found = directory.stat_events()
            return self.pid if writes_file(self.pid, {EVENTS: (found.st_dev, found.st_ino)}) else 0
        # After a boot, on a machine with the same name, it is more likely gone than on another machine.
        return None if self.has_ended or (self.on_this_host and not self.on_this_boot) else 0


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
                procfs.pid_namespace(),
            )
        )
        with contextlib.suppress(OSError):
            try:
                self._folder.link(content, self.directory.run_id)
            except FileNotFoundError:
                self.directory.state.make(PIDFILES).link(content, self.directory.run_id)

    def owner(self) -> Owner | None:
        """The process that runs it by its pidfile; None if there is none, or it has other content."""
        try:
            pid, ticks, boot_id, host = self._folder.read_link(self.directory.run_id).split(" ", 3)
            host, _, namespace = host.partition(" ")
            return Owner(int(pid), int(ticks), boot_id, host, namespace)
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

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
from mprun.record.state_dir import is_run_id

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory

PIDFILES = "open"

# The pidfiles of this process: it may run several jobs, each in a thread.
_own: set[str] = set()


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
        content = f"{os.getpid()} {stat.start_ticks} {procfs.boot_id()} {os.uname().nodename}"
        with contextlib.suppress(OSError):
            try:
                self._link(content)
            except FileNotFoundError:
                self.directory.state.make(PIDFILES)
                self._link(content)

    def _link(self, content: str) -> None:
        os.symlink(content, self.directory.run_id, dir_fd=self._folder.descriptor)

    def read(self) -> tuple[int, int, str, str] | None:
        """The process that runs it: its pid, its start in clock ticks, the boot id and the host.

        None if there is no pidfile, or it has other content.
        """
        try:
            pid, ticks, boot_id, host = self._read_link().split(" ", 3)
            return int(pid), int(ticks), boot_id, host
        except (OSError, ValueError):
            return None

    def _read_link(self) -> str:
        return os.readlink(self.directory.run_id, dir_fd=self._folder.descriptor)

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

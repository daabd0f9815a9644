"""Marks in the state directory the runs that go on, so that the next start finds those that were killed.

A mark is a symbolic link `open/RUN-ID`. What it points to is no file, but says which
process runs it: a link is there with all it says in one instant, and to read it opens
nothing (a lock of POSIX's is lost where a file is closed).
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from mprun.linux import procfs

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory

OPEN = "open"

# The marks that this process has set itself: it may run several jobs, each in a thread.
_own: set[str] = set()


class PidFile:
    """The mark of one run: `set` at its start, `remove` when nothing of it is left."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        runs = os.path.dirname(directory.path)
        self.path = os.path.join(os.path.dirname(runs), OPEN, directory.run_id)

    def set(self) -> None:
        """Say that this process runs it; where that cannot be said, nobody will look for it."""
        if sys.platform != "linux":
            return
        stat = procfs.read_stat(os.getpid())
        if stat is None:
            return
        _own.add(self.path)
        said = f"{os.getpid()} {stat.start_ticks} {procfs.boot_id()} {os.uname().nodename}"
        with contextlib.suppress(OSError):
            try:
                os.symlink(said, self.path)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.dirname(self.path), 0o700)
                os.symlink(said, self.path)

    def said(self) -> str:
        """What it says of who runs it: pid, start time, boot and host; nothing where it is gone."""
        try:
            return os.readlink(self.path)
        except OSError:
            return ""

    def remove(self) -> bool:
        """The run is over; whether there was a mark."""
        try:
            os.unlink(self.path)
        except OSError:
            return False
        finally:
            _own.discard(self.path)
        return True


def of_others(directory: RunDirectory) -> list[str]:
    """The ids of the runs that other processes have marked, in the state directory of this one."""
    folder = os.path.dirname(PidFile(directory).path)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [name for name in sorted(names) if os.path.join(folder, name) not in _own]

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

from mprun import procfs
from mprun.value import Value

if TYPE_CHECKING:
    from mprun.statedir import RunDirectory

OPEN = "open"

# The marks that this process has set itself: it may run several jobs, each in a thread.
_own: set[str] = set()


class Owner(Value):
    """The process that runs a job: its number alone may be another's by now, or elsewhere."""

    pid: int
    start_ticks: int
    boot_id: str
    host: str

    @property
    def on_this_boot(self) -> bool:
        """Whether it was started since this machine was, so that its number means something here."""
        return self.boot_id == procfs.boot_id()

    @property
    def on_this_host(self) -> bool:
        """Whether it ran under this host's name: not on another machine, nor in another container."""
        return self.host == os.uname().nodename

    @property
    def lives(self) -> bool:
        """Whether it is still there, as far as can be seen from here."""
        stat = procfs.read_stat(self.pid)
        return self.on_this_boot and stat is not None and stat.lives and stat.start_ticks == self.start_ticks


class Mark:
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

    def owner(self) -> Owner | None:
        """Who runs it, None where the mark is gone or says nothing."""
        try:
            pid, ticks, boot_id, host = os.readlink(self.path).split(" ", 3)
            return Owner(pid=int(pid), start_ticks=int(ticks), boot_id=boot_id, host=host)
        except (OSError, ValueError):
            return None

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
    folder = os.path.dirname(Mark(directory).path)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [name for name in sorted(names) if os.path.join(folder, name) not in _own]

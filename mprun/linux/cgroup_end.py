"""Ends the cgroup of a run: kills everything in it at once, waits until it is empty, and removes it.

The kernel kills all members and those of cgroups below, and nothing can be forked past it (`cgroup.kill`,
since Linux 5.14). This also ends processes that have become another user's.
"""

from __future__ import annotations

import contextlib
import os
import select
from time import monotonic

from mprun.linux.procfs import own_cgroup
from mprun.linux.run_cgroup import MARK, PREFIX, path_of, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

# For how long a cgroup may stay busy after the kill, in seconds; and once all its processes have ended.
KILL_SECONDS = 1.0
SETTLE_SECONDS = 0.05
# So many cgroups are looked at to find the one of a run that was killed.
MAX_CGROUPS = 100_000
# How the directory of one is held open.
HELD = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class HeldCgroup:
    """A cgroup whose directory is held open.

    Its name has the pid of a launcher, and both may be used again: what has the name then is another one, in
    which nothing is killed. `folder` is the open directory, -1 to open it now. Raises OSError.
    """

    def __init__(self, path: str, folder: int = -1) -> None:
        self.path = path
        self._folder = folder if folder >= 0 else os.open(path, HELD)
        # A path that leads to the open directory, and not to what has its name.
        self._inside = f"/proc/self/fd/{self._folder}"

    def close(self) -> None:
        """Hold it no more."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has_mark(self, identity: str) -> bool:
        """Whether it is marked with the identity of a run's directory, by this user."""
        try:
            marked = os.getxattr(self._folder, MARK)
            return marked == identity.encode() and os.fstat(self._folder).st_uid == os.geteuid()
        except OSError:
            return False

    def has_this_process(self) -> bool:
        """Whether this process is in it, or in one below it."""
        own, _ = own_cgroup()
        return f"{own}/".startswith(f"{self.path}/") and self._has_its_name()

    def members(self) -> set[int]:
        """The pids of the processes in it, and in those below it, that can be seen from here."""
        found: set[int] = set()
        for directory in _tree(self._inside):
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", "rb") as file:
                # A process of another PID namespace is 0.
                found.update(map(int, file.read().split()))
        return found - {0}

    def end(self) -> list[int]:
        """End and remove it; the pids of the processes that are still in it, none if it is gone."""
        if self._remove(SETTLE_SECONDS):
            return []
        with contextlib.suppress(OSError):
            write(f"{self._inside}/cgroup.kill", b"1")
        return [] if self._remove(KILL_SECONDS) else sorted(self.members())

    def _remove(self, seconds: float) -> bool:
        """Remove it once it is empty, which may take some seconds; whether it is gone."""
        end = monotonic() + seconds
        try:
            events = os.open(f"{self._inside}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            poll = select.poll()
            # It changes when the last process has ended.
            poll.register(events, select.POLLPRI)
            while True:
                is_busy = b"populated 1" in os.pread(events, 4096, 0)
                if not is_busy and self._remove_tree():
                    return True
                if (left := end - monotonic()) <= 0:
                    return False
                poll.poll(1000 * left if is_busy else 1)
        except OSError:
            # Someone else has removed it.
            return True
        finally:
            os.close(events)

    def _remove_tree(self) -> bool:
        below = list(_tree(self._inside))[1:]
        try:
            for directory in reversed(below):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(directory)
            if self._has_its_name():
                os.rmdir(self.path)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self._folder))
        except OSError:
            return False


def end_unused(launcher: int) -> None:
    """Wait until a launcher that was killed has ended, but do not reap it; end its cgroup, if it has one."""
    # Its pid is its own until it is reaped, and so is the name of the cgroup.
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, launcher, os.WEXITED | os.WNOWAIT)
        if path := path_of(launcher):
            with contextlib.suppress(OSError), HeldCgroup(path) as cgroup:
                cgroup.end()


def leave_and_end(path: str) -> None:
    """End the cgroup that this process is in, but for this process, which moves to the one above."""
    with contextlib.suppress(OSError), HeldCgroup(path) as cgroup:
        with contextlib.suppress(OSError):
            write(f"{os.path.dirname(path)}/cgroup.procs", b"0")
        # If it could not leave, it ends with the others, and an empty cgroup is left to the next start.
        cgroup.end()


def find(identity: str) -> HeldCgroup | None:
    """The cgroup that is marked with the identity of a run's directory, if there is one.

    It is looked for in the whole hierarchy: a record that named one could be forged. Only one of this user's
    counts, with a name that a launcher gives.
    """
    _, top = own_cgroup()
    for count, directory in enumerate(_tree(top) if top else ()):
        if count > MAX_CGROUPS:
            break
        if os.path.basename(directory).startswith(PREFIX):
            with contextlib.suppress(OSError):
                cgroup = HeldCgroup(directory)
                if cgroup.has_mark(identity):
                    return cgroup
                cgroup.close()
    return None


def _tree(path: str) -> Iterator[str]:
    """A cgroup and all below it, each before those that are in it."""
    unvisited = [path]
    while unvisited:
        directory = unvisited.pop()
        yield directory
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            unvisited += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]

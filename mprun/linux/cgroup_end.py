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

# For how long a cgroup may stay busy after the kill, in seconds; and once all its processes have ended.
KILL_SECONDS = 1.0
SETTLE_SECONDS = 0.05
# So many cgroups are looked at to find the one of a run that was killed.
MAX_CGROUPS = 100_000


def end(path: str) -> list[int]:
    """End and remove a cgroup; the pids of the processes that are still in it, none if it is gone."""
    if _remove(path, SETTLE_SECONDS):
        return []
    with contextlib.suppress(OSError):
        write(f"{path}/cgroup.kill", b"1")
    return [] if _remove(path, KILL_SECONDS) else sorted(members(path))


def end_unused(launcher: int) -> None:
    """Wait until a launcher that was killed has ended, but do not reap it; end its cgroup, if it has one."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, launcher, os.WEXITED | os.WNOWAIT)
        # Its pid is its own until it is reaped.
        if path := path_of(launcher):
            end(path)


def leave_and_end(path: str) -> None:
    """End the cgroup that this process is in, but for this process, which moves to the one above."""
    with contextlib.suppress(OSError):
        write(f"{os.path.dirname(path)}/cgroup.procs", b"0")
    # If it could not leave, it ends with the others, and an empty cgroup is left to the next start.
    end(path)


def members(path: str) -> set[int]:
    """The pids of the processes in a cgroup, and in those below it, that can be seen from here."""
    found: set[int] = set()
    for directory in _tree(path):
        with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", "rb") as file:
            # A process of another PID namespace is 0.
            found.update(map(int, file.read().split()))
    return found - {0}


def has_this_process(path: str) -> bool:
    """Whether this process is in a cgroup, or in one below it."""
    own, _ = own_cgroup()
    return f"{own}/".startswith(f"{path}/")


def find(identity: str) -> str:
    """The cgroup that is marked with the identity of a run's directory; "" if there is none.

    It is looked for in the whole hierarchy: a record that named one could be forged. Only one of this user's
    counts, with a name that a launcher gives.
    """
    _, top = own_cgroup()
    user = os.geteuid()
    for count, directory in enumerate(_tree(top) if top else ()):
        if count > MAX_CGROUPS:
            break
        with contextlib.suppress(OSError):
            if (
                os.path.basename(directory).startswith(PREFIX)
                and os.stat(directory).st_uid == user
                and os.getxattr(directory, MARK) == identity.encode()
            ):
                return directory
    return ""


def _remove(path: str, seconds: float) -> bool:
    """Remove a cgroup once it is empty, which may take some seconds; whether it is gone."""
    end = monotonic() + seconds
    try:
        events = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        poll = select.poll()
        # It changes when the last process has ended.
        poll.register(events, select.POLLPRI)
        while True:
            is_busy = b"populated 1" in os.pread(events, 4096, 0)
            if not is_busy and _remove_tree(path):
                return True
            if (left := end - monotonic()) <= 0:
                return False
            poll.poll(1000 * left if is_busy else 1)
    except OSError:
        # Someone else has removed it.
        return True
    finally:
        os.close(events)


def _remove_tree(path: str) -> bool:
    for directory in reversed(list(_tree(path))):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def _tree(path: str) -> Iterator[str]:
    """A cgroup and all below it, each before those that are in it."""
    unvisited = [path]
    while unvisited:
        directory = unvisited.pop()
        yield directory
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            unvisited += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]

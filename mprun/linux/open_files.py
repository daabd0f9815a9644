"""Finds the processes that have a file or a pipe open, from /proc/PID/fd (proc(5)).

For most questions a process counts only if it writes: a pager or `tail -f` may have any file open.
"""

from __future__ import annotations

import contextlib
import os

from mprun.linux.procfs import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    # Device and inode.
    FileId = tuple[int, int]

# How the names begin of what mprun writes in the directory of a run.
_OF_A_RUN = ("events.jsonl", "starting.jsonl", "logs/")


def inheritable() -> list[int]:
    """What a process that this one executes would get, besides the first three descriptors.

    These are those that this one was started with, or that a module has made so. Raises OSError.
    """
    found = []
    for number in map(int, os.listdir("/proc/self/fd")):
        # The one that has listed the others is closed by now.
        with contextlib.suppress(OSError):
            if number > 2 and os.get_inheritable(number):
                found.append(number)
    return found


def writes_file(pid: int, files: Mapping[str, FileId]) -> bool:
    """Whether a process has one of these files open for writing; `files` are by the name of each."""
    for path, target in _descriptors(pid):
        expected = files.get(target.rpartition("/")[2])
        # Only a file with the right name is looked at: a file on a dead network file system would block.
        if expected is not None and _identity(path) == expected and _is_writable(path):
            return True
    return False


def writes_run_elsewhere(pid: int, directory: str, files: Collection[FileId]) -> bool:
    """Whether a process writes a record or a log of a run with this id in another directory.

    `directory` is the run's own, without links, and `files` are those in it, which a process may have
    open under another path, in another mount namespace.
    """
    run_id = directory.rpartition("/")[2]
    for path, target in _descriptors(pid):
        above, found, name = target.partition(f"/runs/{run_id}/")
        if (
            found
            and name.startswith(_OF_A_RUN)
            and f"{above}/runs/{run_id}" != directory
            and _identity(path) not in files
            and _is_writable(path)
        ):
            return True
    return False


def writes_pipe(pid: int, pipes: Collection[str]) -> bool:
    """Whether a process has the write end of one of these pipes; `pipes` as `pipe_name` returns them."""
    return any(target in pipes and _is_writable(path) for path, target in _descriptors(pid))


def tree_has_open(leader: int, path: str) -> bool:
    """Whether a process or one of its descendants has this file open, as far as that can be seen.

    `path` is absolute and contains no link.
    """
    unvisited = [leader]
    while unvisited:
        pid = unvisited.pop()
        if any(target == path for _, target in _descriptors(pid)):
            return True
        unvisited += children(pid)
    return False


def open_path(descriptor: int) -> str:
    """The path, without links, at which a file of this process is now; empty if it cannot be known."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def pipe_name(descriptor: int) -> str:
    """The name of a pipe in /proc/PID/fd."""
    return f"pipe:[{os.fstat(descriptor).st_ino}]"


def _descriptors(pid: int) -> list[tuple[str, str]]:
    """The path of each descriptor of a process in /proc, and what it refers to; none if they are hidden."""
    folder = f"/proc/{pid}/fd"
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        path = f"{folder}/{name}"
        try:
            found.append((path, os.readlink(path)))
        except OSError:
            # Closed since, or the process has ended.
            continue
    return found


def _identity(path: str) -> FileId | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_writable(path: str) -> bool:
    """Whether a descriptor is open for writing; `path` is in /proc/PID/fd."""
    process, _, number = path.rpartition("/fd/")
    try:
        with open(f"{process}/fdinfo/{number}", "rb") as file:
            flags = file.read().partition(b"flags:")[2].split(maxsplit=1)
    except OSError:
        return False
    return bool(flags) and int(flags[0], 8) & os.O_ACCMODE != os.O_RDONLY

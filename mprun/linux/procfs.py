"""What the kernel says about processes: in /proc, where there is one, and how many cores they may use."""

from __future__ import annotations

import os
import time
from os import pread
from time import clock_gettime_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any


class Stat:
    """Some fields of /proc/PID/stat (proc(5)): `start_ticks` in clock ticks since boot, `cpu` in seconds."""

    __slots__ = ("cpu", "group", "ppid", "session", "start_ticks", "state", "threads")

    def __init__(self, line: bytes) -> None:
        # The command's name may contain anything, also parentheses; the last one ends it.
        fields = line[line.rfind(b")") + 2 :].split(maxsplit=20)
        self.state = fields[0].decode()
        self.ppid = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        self.cpu = (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND
        self.threads = int(fields[17])
        self.start_ticks = int(fields[19])

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; a zombie has ended and waits to be reaped."""
        return self.state not in "ZX"


def count_cores() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        # Not everywhere, and a seccomp filter may refuse it.
        return os.cpu_count() or 1


def is_readable() -> bool:
    """Whether there is a /proc that shows this process."""
    return read_stat(os.getpid()) is not None


def read_stat(pid: int) -> Stat | None:
    """The present state of a process; None if it is gone or cannot be seen."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        line = os.read(file, 4096)
    except OSError:
        return None
    finally:
        os.close(file)
    return Stat(line)


def count_threads(pid: int) -> int:
    """How many threads a process has, in a third of the time of `read_stat`; 0 if it cannot be seen."""
    try:
        # It has a directory for each thread, and each counts as a link, like . and .. of theirs.
        return max(0, os.stat(f"/proc/{pid}/task").st_nlink - 2)
    except OSError:
        return 0


def is_alive(pid: int, start_ticks: int | None = None) -> bool:
    """Whether a process has not ended; a zombie has, and one that cannot be seen counts as ended.

    With `start_ticks`, whether it is the process that began then, and not another one with its pid.
    """
    stat = read_stat(pid)
    return stat is not None and stat.is_alive and start_ticks in (None, stat.start_ticks)


def is_ending(pid: int) -> bool:
    """Whether a process has begun to end: its files are closed before its children have another parent."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    # PF_EXITING of Linux. One that cannot be seen counts as ended.
    return not fields or int(fields[6]) & 4 > 0


def read_name(pid: int) -> str:
    """The name of the program that a process runs; the kernel keeps 15 characters of it."""
    return _read(f"/proc/{pid}/comm").decode("utf-8", "backslashreplace").rstrip("\n")


def read_max_rss(pid: int) -> int | None:
    """The peak memory of a process in bytes; None if it cannot be seen."""
    _, _, found = _read(f"/proc/{pid}/status").partition(b"\nVmHWM:")
    return int(found.split(maxsplit=1)[0]) * 1024 if found else None


def usage(pid: int) -> dict[str, Any] | None:
    """What a process has used: `cpu` in seconds, `max_rss` in bytes, and `threads`, which it has now.

    None if it has ended or cannot be seen.
    """
    stat = read_stat(pid)
    if stat is None or not stat.is_alive:
        return None
    return {"cpu": stat.cpu, "max_rss": read_max_rss(pid), "threads": stat.threads}


def real_time_limit(pid: int) -> int:
    """The soft limit of a process, of any user, for real-time scheduling in µs; -1 if none can be seen."""
    _, _, found = _read(f"/proc/{pid}/limits").partition(b"\nMax realtime timeout")
    soft = found.split(maxsplit=1)[0] if found else b""
    return int(soft) if soft.isdigit() else -1


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def boot_ticks() -> int | None:
    """The time since boot in clock ticks, the unit of `Stat.start_ticks`; None if this is not Linux."""
    return None if _BOOTTIME is None else clock_gettime_ns(_BOOTTIME) * _TICKS_PER_SECOND // 1_000_000_000


def start_ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it cannot be seen."""
    stat = read_stat(pid)
    return stat.start_ticks if stat else None


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# How long a process may be in the middle of an exec, and how often it is looked at, in seconds.
_MAX_EXEC_SECONDS = 0.1
_EXEC_INTERVAL = 0.0005
# The least that the kernel returns in one read of a longer file in /proc.
_PAGE_BYTES = 4096
# How often the list of processes is read at most, because new ones may begin without end.
_MAX_LISTS = 10


def seconds_since(start_ticks: int) -> float:
    """How long ago a process began, from its `start_ticks`."""
    return max(0.0, ((boot_ticks() or start_ticks) - start_ticks) / _TICKS_PER_SECOND)


def processes() -> dict[int, Stat]:
    """Every visible process, by pid.

    One may end before it is read and leave a child that was not there yet: what is new then is read, too.
    """
    seen: dict[str, Stat | None] = {}
    try:
        for _ in range(_MAX_LISTS):
            new = [name for name in os.listdir("/proc") if name.isdecimal() and name not in seen]
            if not new:
                break
            seen.update((name, read_stat(int(name))) for name in new)
    except OSError:
        return {}
    return {int(name): stat for name, stat in seen.items() if stat is not None}


def trees(everyone: dict[int, Stat], roots: Collection[int]) -> dict[int, Stat]:
    """These processes, their descendants and the members of their sessions, except zombies."""
    members = {pid for pid, stat in everyone.items() if stat.session in roots}.union(roots)
    found = descendants(everyone, members)
    return {pid: everyone[pid] for pid in found if pid in everyone and everyone[pid].is_alive}


def descendants(everyone: dict[int, Stat], roots: Iterable[int]) -> set[int]:
    """These processes and all their descendants among `everyone`."""
    children: dict[int, list[int]] = {}
    for pid, stat in everyone.items():
        children.setdefault(stat.ppid, []).append(pid)
    found = set(roots)
    unvisited = list(found)
    while unvisited:
        for child in children.get(unvisited.pop(), ()):
            if child not in found:
                found.add(child)
                unvisited.append(child)
    return found


def environment(pid: int) -> list[bytes]:
    """The variables that a process was started with, as `NAME=VALUE`; none if they cannot be read.

    A fork shows the variables with which its program was started (proc(5)). Zombies and processes
    of other users show none.
    """
    try:
        file = os.open(f"/proc/{pid}/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    text = b""
    try:
        while chunk := os.read(file, 1 << 17):
            text += chunk
    except OSError:
        return []
    finally:
        os.close(file)
    return text.split(b"\0")


def has_run_id(pid: int, run_id: str) -> bool:
    """Whether the environment that /proc shows for a process names this run."""
    return f"MPRUN_RUN_ID={run_id}".encode() in environment(pid)


class ChildList:
    """The children of this process, from /proc/self/task/TID/children.

    Cheap enough to be read at the end of every task: one read of a descriptor that stays open.
    """

    def __init__(self) -> None:
        try:
            self._file: int | None = os.open(
                f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:
            self._file = None

    def fileno(self) -> int | None:
        """The descriptor, which forks must close."""
        return self._file

    def count(self) -> int | None:
        """How many children are alive or not reaped yet; None if the list cannot be read."""
        if self._file is None:
            return None
        # Each pid is followed by a space. A page holds five hundred pids.
        text = pread(self._file, _PAGE_BYTES, 0)
        number = text.count(b" ")
        read = len(text)
        while len(text) > _PAGE_BYTES // 2:
            text = pread(self._file, _PAGE_BYTES, read)
            number += text.count(b" ")
            read += len(text)
        return number

    def pids(self) -> list[int]:
        """The pids of the children that are alive or not reaped yet."""
        if self._file is None:
            return []
        # proc(5): the list is complete only while no child ends; callers that need all read it again.
        text = b""
        while chunk := os.pread(self._file, 65536, len(text)):
            text += chunk
        return [int(pid) for pid in text.split()]


def children(pid: int | str = "self") -> list[int]:
    """The children of all threads of a process; some may be missing while a child ends (proc(5))."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        # A thread has ended, or there is no /proc.
        pass
    return found


def is_resource_tracker(pid: int) -> bool:
    """Whether a process is a resource tracker of multiprocessing, or of a library that has its own.

    It removes shared memory and semaphores, and ends, once no process is left that can use them.
    """
    line, end = _read(f"/proc/{pid}/cmdline"), time.monotonic() + _MAX_EXEC_SECONDS
    # In the middle of an exec it is empty for a moment, in which vfork(2) has already let the parent go on.
    while not line and (stat := read_stat(pid)) is not None and stat.is_alive and time.monotonic() < end:
        time.sleep(_EXEC_INTERVAL)
        line = _read(f"/proc/{pid}/cmdline")
    return b"resource_tracker import main" in line


def handles_signal(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, from SigCgt in /proc/PID/status (proc(5))."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    except OSError:
        pass
    return False


def has_tracer(pid: int) -> bool:
    """Whether another process traces this one (ptrace(2)), which may hold it at its exit, or as a zombie."""
    _, _, found = _read(f"/proc/{pid}/status").partition(b"\nTracerPid:")
    return bool(found) and found.split(maxsplit=1)[0] != b"0"


def boot_id() -> str | None:
    """The id of this boot of the machine; None if there is none."""
    return _read("/proc/sys/kernel/random/boot_id").decode("ascii").strip() or None


def pid_namespace() -> str:
    """The identity of the namespace of the pids that this process sees; "" if unknown."""
    try:
        found = os.stat("/proc/self/ns/pid")
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


# cgroups(7), and proc(5) for the mounts, of which version 1 has the first type and version 2 the second.
OWN_CGROUP, MOUNTS = "/proc/self/cgroup", "/proc/self/mountinfo"
_CGROUPS_1, _CGROUPS_2 = "cgroup", "cgroup2"


def own_cgroup(controller: str = "", own: str = OWN_CGROUP, mounts: str = MOUNTS) -> tuple[str, str]:
    """The directory of this process's cgroup, and the top of its hierarchy; twice "" if it is not mounted.

    The hierarchy is that of version 2, or the one of version 1 that has a `controller`. A container may have
    only a part of a hierarchy, and a mount where no one expects it.
    """
    path = _path_of_cgroup(controller, os.fsdecode(_read(own)))
    if path is None:
        return "", ""
    kind = _CGROUPS_1 if controller else _CGROUPS_2
    for line in os.fsdecode(_read(mounts)).splitlines():
        # proc(5): the fields before the hyphen vary in number.
        before, found, after = line.partition(" - ")
        if not found or after.partition(" ")[0] != kind:
            continue
        if controller and controller not in after.rpartition(" ")[2].split(","):
            continue
        root, top = map(_without_octals, before.split(" ", 5)[3:5])
        within = path[len(root) :] if root != "/" else path
        if path.startswith(root) and within[:1] in ("", "/"):
            return f"{top.rstrip('/')}{within.rstrip('/')}", top
    return "", ""


def _path_of_cgroup(controller: str, text: str) -> str | None:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if (controller in controllers.split(",")) if controller else not controllers:
            # One that begins like this is outside of what this process's namespace has.
            return None if path.startswith("/..") else path
    return None


def _without_octals(text: str) -> str:
    """A path of mountinfo, in which blanks are octal numbers."""
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(octal, character)
    return text

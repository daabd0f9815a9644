"""Who listens on a port of this machine, as /proc says it; nothing where there is no /proc."""

from __future__ import annotations

import contextlib
import os

from mprun.linux import procfs

# The state of a socket that listens (include/net/tcp_states.h).
_LISTENS = "0A"


def sockets(port: int) -> frozenset[str]:
    """The inodes of the sockets that listen on a TCP port, on whichever address."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, None)
            for line in file:
                # sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …
                fields = line.split(maxsplit=10)
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return frozenset(found)


def _sockets_of(pid: int, wanted: frozenset[str]) -> set[str]:
    """Which of the sockets a process holds; none where this user may not see it."""
    links = {f"socket:[{inode}]": inode for inode in wanted}
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(links.get(os.readlink(f"/proc/{pid}/fd/{number}"), ""))
    return found - {""}


class Newcomer:
    """A task that is to listen on a port, where somebody else may have been before it.

    A stranger is who was there when the task was first asked about, and is older than it. To
    be sure costs a look at every process, so it is done for such a port alone, and once.
    """

    def __init__(self, pid: int, port: int) -> None:
        stat = procfs.read_stat(pid)
        self._port = port
        self._born = stat.start_ticks if stat else None
        self._before = sockets(port) if stat else frozenset()
        self._judged: dict[frozenset[str], int | None] = {}

    def stranger(self) -> int | None:
        """The pid of the stranger that answers on the port; None where nobody is proven one."""
        listening = sockets(self._port)
        # Who came later was perhaps asked to by the task, as systemd is.
        if self._born is None or not listening or not listening <= self._before:
            return None
        if listening not in self._judged:
            self._judged[listening] = _stranger(listening, self._born)
        return self._judged[listening]


def _stranger(listening: frozenset[str], born: int) -> int | None:
    """A process that holds the sockets, where all that do were there before `born`, in ticks."""
    everyone = procfs.processes()
    owners = {pid: held for pid in everyone if (held := _sockets_of(pid, listening))}
    if set().union(*owners.values()) != listening:
        # Another user's: who that is cannot be known.
        return None
    # The task, or what descends from it, in whichever session, is no older than it.
    are_older = all(everyone[pid].start_ticks < born for pid in owners)
    return min(owners) if are_older else None

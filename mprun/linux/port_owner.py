"""Finds out which process listens on a TCP port, from /proc; nothing on systems without /proc."""

from __future__ import annotations

import contextlib
import os

from mprun.linux import procfs

# The state of a listening socket (include/net/tcp_states.h).
_LISTEN = "0A"


def listening_sockets(port: int) -> frozenset[str]:
    """The inodes of the sockets that listen on a TCP port, on any address."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, None)
            for line in file:
                # sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …
                fields = line.split(maxsplit=10)
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return frozenset(found)


def _sockets_of(pid: int, wanted: frozenset[str]) -> set[str]:
    """Which of these sockets a process has open; none if this user may not look."""
    links = {f"socket:[{inode}]": inode for inode in wanted}
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(links.get(os.readlink(f"/proc/{pid}/fd/{number}"), ""))
    return found - {""}


class PortOwner:
    """Whether the process that answers on a task's port is the task's, or was there before it.

    `foreign_pid` reports a process only if it is proven: it already listened when this object was
    made, and it is older than the task. The proof needs a look at every process, so it is
    made only if a socket was there before, and once for each set of sockets.
    """

    def __init__(self, pid: int, port: int) -> None:
        stat = procfs.read_stat(pid)
        self._port = port
        self._started = stat.start_ticks if stat else None
        self._before = listening_sockets(port) if stat else frozenset()
        self._known: dict[frozenset[str], int | None] = {}

    def foreign_pid(self) -> int | None:
        """The pid of a process that answers on the port and is not the task's; None if none is proven."""
        listening = listening_sockets(self._port)
        # A process that began to listen later may do so for the task, as systemd would.
        if self._started is None or not listening or not listening <= self._before:
            return None
        if listening not in self._known:
            self._known[listening] = _older_owner(listening, self._started)
        return self._known[listening]


def _older_owner(listening: frozenset[str], started: int) -> int | None:
    """A process that has these sockets, if all that have them began before `started`, in clock ticks."""
    everyone = procfs.processes()
    owners = {pid: found for pid in everyone if (found := _sockets_of(pid, listening))}
    if set().union(*owners.values()) != listening:
        # Some belong to a process of another user, which cannot be identified.
        return None
    # The task and its descendants, in any session, are not older than the task.
    are_older = all(everyone[pid].start_ticks < started for pid in owners)
    return min(owners) if are_older else None

"""What is left on this machine of an agent that was lost, and of all that it has started.

A process is known by what it inherits, however it was started: the variable with the agent's key, which
`env -i` and `sudo` drop; the session of the agent or of its launcher, which it may leave; the tag of the
agent's directory (`mprun.linux.run_tags`) and the cgroup of the launcher, where there is one, which it cannot
drop as an ordinary user; and its parent.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mprun.linux import cgroup_end, pidfd_signals, procfs, run_tags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.linux.procfs import Stat

# It and all that it starts can be told by this variable, which has the key.
KEY_VARIABLE = "MPRUN_AGENT"
# Values of the option of /proc with which every user sees all processes (proc(5)).
_SEES_ALL = ("0", "off")


def machine() -> tuple[str | None, str] | None:
    """What workers have in common of which each sees the processes of the other.

    None if this process does not see those of all users.
    """
    if not procfs.is_readable() or _hides_processes():
        return None
    return procfs.boot_id(), procfs.pid_namespace()


def _hides_processes(mounts: str = procfs.MOUNTS) -> bool:
    with contextlib.suppress(OSError), open(mounts, encoding="utf-8", errors="replace") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if before.split(" ")[4:5] != ["/proc"]:
                continue
            options = (*before.split(" ")[5].split(","), *after.rstrip("\n").split(" ")[-1].split(","))
            hidden = [option.partition("=")[2] for option in options if option.startswith("hidepid=")]
            return any(value not in _SEES_ALL for value in hidden)
    return False


def look(
    key: str, identity: str, sessions: Iterable[tuple[int, int]], *, kill: bool
) -> list[tuple[int, int]]:
    """The pid of each process that is left, and that of the task of which it is, 0 if that is not known.

    `identity` is that of the agent's directory, "" if it has none; `sessions` has the pids of the agent and
    its launcher, which lead one each, and when they began. With `kill`, what is certain to be the agent's is
    killed, as far as this user may.
    """
    everyone = {pid: stat for pid, stat in procfs.processes().items() if stat.is_alive}
    certain = procfs.descendants(everyone, _marked(everyone, key, identity))
    left = procfs.descendants(everyone, certain | _in_sessions(everyone, dict(sessions)))
    # Before the kill: a process that has ended shows no limits.
    found = [(pid, run_tags.task_of(pid)) for pid in left]
    if kill:
        for pid in certain:
            pidfd_signals.kill(pid, everyone[pid].start_ticks)
    return found


def _marked(everyone: Iterable[int], key: str, identity: str) -> set[int]:
    mark, tag = f"{KEY_VARIABLE}={key}".encode(), run_tags.tag_of(identity) if identity else -1
    members = _members(identity)
    return {
        pid
        for pid in everyone
        if pid in members or run_tags.run_of(pid) == tag or mark in procfs.environment(pid)
    }


def _members(identity: str) -> set[int]:
    if not identity or (cgroup := cgroup_end.find(identity)) is None:
        return set()
    with cgroup:
        return cgroup.members()


def _in_sessions(everyone: dict[int, Stat], sessions: dict[int, int]) -> set[int]:
    """The members of these sessions, but not of a later one whose leader has got the same pid."""
    return {
        pid
        for pid, stat in everyone.items()
        if (begun := sessions.get(stat.session)) is not None
        and (stat.session not in everyone or everyone[stat.session].start_ticks == begun)
    }

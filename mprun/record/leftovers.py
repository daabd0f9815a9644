"""The processes that a killed run has left running: found by a proof, and killed.

A record or a pidfile only claims something: it may be old, damaged or forged, and its pids may be those of
any process. So a process is killed only with a proof that no record contains: it is in the cgroup of the
run, or has its tag, which both name the directory of the run by its inode; or it has the run's id in
its environment, or a log of the run open for writing. The id is the name of a directory, which a copy or a
forgery has, too: it proves nothing if a process writes the run of that id in another directory.

The descendants of such a process are the run's, and so is its session, if it is a session of the run: a
process inherits its session or starts one, and cannot join another one.
"""

from __future__ import annotations

import contextlib
import os
from stat import S_ISREG
from typing import TYPE_CHECKING

from mprun.linux import cgroup_end, open_files, pidfd_signals, prctl, procfs, run_tags
from mprun.linux.kill_loop import kill_until_none_left

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mprun.linux.cgroup_end import HeldCgroup
    from mprun.linux.open_files import FileId
    from mprun.linux.procfs import Stat
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import Folder

# For how long processes are killed again and again, and the pause between, in seconds.
KILL_SECONDS = 1.0
KILL_INTERVAL = 0.001
# How long the process that saves the output of a killed run may take, in seconds. It waits for a second
# itself, for processes that are killed here.
KEEPER_SECONDS = 5.0


class Leftovers:
    """The processes that a killed run has left running.

    `began` is the start of the run's engine in clock ticks since boot; no part of the run is older.
    `killed` are the pids of those that were sent SIGKILL, `remaining` those that are still running,
    `unproven` those that the record names, or that are in a session that it names, without a proof.
    """

    def __init__(self, directory: RunDirectory, began: int, state: RunState) -> None:
        self._run_id = directory.run_id
        self._path = os.path.realpath(directory.path)
        # Whether a process writes the run of this id in another directory.
        self._is_elsewhere = False
        self._began = began
        self._tag, self._cgroup = _kernels_marks(directory)
        # Each task that was running, by pid: its start by the record; None if that is unknown.
        self._recorded = {
            attempt.started.pid: attempt.started.start_ticks
            for task in state.tasks.values()
            for attempt in task.attempts
            if attempt.exited is None
        }
        self._logs = _files(directory.logs)
        self._written = _written(directory, self._logs)
        # Processes that save the output of commands, which ends once the others are killed.
        self._keepers: dict[int, int] = {}
        self.killed: set[int] = set()
        self.remaining: dict[int, Stat] = {}
        self.unproven: dict[int, Stat] = {}

    def kill(self) -> None:
        """Kill what is provably part of the run, until no new process is found."""

        def find() -> dict[int, Stat]:
            # The list of processes is not read in one instant: one that a process forked meanwhile may be
            # missing from one look, but not from the next.
            return self._find() or self._find()

        if self._cgroup is not None and self._cgroup.has_this_process():
            self._cgroup = None
        kill_until_none_left(find, self._kill, timeout=KILL_SECONDS, interval=KILL_INTERVAL)
        for pid, start_ticks in self._keepers.items():
            pidfd_signals.await_end(pid, start_ticks, KEEPER_SECONDS)
        if self._cgroup is not None:
            self._end_cgroup(self._cgroup)
            self._cgroup.close()

    def _end_cgroup(self, cgroup: HeldCgroup) -> None:
        """Kill what forks faster than it is killed one by one, or has become another user's."""
        members = cgroup.members()
        left = cgroup.end()
        self.killed |= members.difference(left)
        self.remaining = {
            pid: stat
            for pid in {*self.remaining, *left}
            if (stat := procfs.read_stat(pid)) is not None and stat.is_alive
        }

    def _find(self) -> dict[int, Stat]:
        everyone = procfs.processes()
        owned = self._find_owned(everyone)
        self._keepers = {
            pid: everyone[pid].start_ticks for pid in owned if procfs.read_name(pid) == prctl.KEEPER_NAME
        }
        owned -= {*self._keepers}
        if os.getpid() in owned:
            # A task of the run started this process, and is still running after the run was killed.
            return {}
        self.unproven = self._find_unproven(everyone, owned)
        self.remaining = {pid: everyone[pid] for pid in owned if everyone[pid].is_alive}
        return self.remaining

    def _kill(self, found: dict[int, Stat]) -> None:
        self.killed |= {pid for pid, stat in found.items() if pidfd_signals.kill(pid, stat.start_ticks)}

    def _find_owned(self, everyone: dict[int, Stat]) -> set[int]:
        """The processes that are provably part of the run."""
        young = {pid for pid, stat in everyone.items() if stat.start_ticks >= self._began}
        tagged = {
            pid for pid in young if procfs.has_run_id(pid, self._run_id) and not self._is_tagged_as_other(pid)
        }
        if tagged and self._find_elsewhere(everyone):
            tagged = set()
        marked = {pid for pid in young if self._tag and run_tags.run_of(pid) == self._tag}
        if self._cgroup is not None:
            marked |= self._cgroup.members() & everyone.keys()
        proven = tagged | marked | {pid for pid in young - tagged - marked if self._writes_log(pid)}
        # A shell that appends to a log proves nothing about the session of its terminal.
        sessions = {
            session
            for session in {everyone[pid].session for pid in proven}
            if session in proven or (session in self._recorded and session not in everyone)
        }
        members = {pid for pid, stat in everyone.items() if stat.session in sessions}
        return procfs.descendants(everyone, proven | members)

    def _is_tagged_as_other(self, pid: int) -> bool:
        """Whether a process has the tag of another directory, which a run of the same id has."""
        return bool(self._tag) and run_tags.run_of(pid) not in (0, self._tag)

    def _find_elsewhere(self, everyone: Iterable[int]) -> bool:
        """Whether the run is one of another directory, of which this one is a copy or a forgery."""
        # Once seen, it stays so: the engine there may end before its tasks.
        self._is_elsewhere = self._is_elsewhere or any(
            open_files.writes_run_elsewhere(pid, self._path, self._written) for pid in everyone
        )
        return self._is_elsewhere

    def _writes_log(self, pid: int) -> bool:
        return bool(self._logs) and open_files.writes_file(pid, self._logs)

    def _find_unproven(self, everyone: dict[int, Stat], owned: set[int]) -> dict[int, Stat]:
        """Processes that the record names, or in sessions that it names, without a proof.

        One that is older than the run, or has a recorded pid and another start, is certainly not part of it.
        """
        numbers = {
            pid
            for pid, ticks in self._recorded.items()
            if ticks is None or pid not in everyone or everyone[pid].start_ticks == ticks
        }
        return {
            pid: stat
            for pid, stat in everyone.items()
            if pid not in owned
            and stat.is_alive
            and stat.start_ticks >= self._began
            and (pid in numbers or stat.session in numbers)
        }


def _kernels_marks(directory: RunDirectory) -> tuple[int, HeldCgroup | None]:
    """What the kernel keeps of a run that has this directory: the tag of its processes, and its cgroup."""
    try:
        identity = directory.identity
    except OSError:
        # It is gone, or not ours.
        return 0, None
    return run_tags.tag_of(identity), cgroup_end.find(identity)


def _files(logs: Folder) -> dict[str, FileId]:
    """The regular files of a directory, by name, that are of its owner and have no other name anywhere."""
    found: dict[str, FileId] = {}
    with contextlib.suppress(OSError):
        for name in logs.names():
            with contextlib.suppress(FileNotFoundError):
                status = logs.stat(name)
                if S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == logs.owner:
                    found[name] = (status.st_dev, status.st_ino)
    return found


def _written(directory: RunDirectory, logs: dict[str, FileId]) -> set[FileId]:
    """What a process of the run may write: its logs, and its record."""
    written = {*logs.values()}
    with contextlib.suppress(OSError):
        found = directory.stat_events()
        written.add((found.st_dev, found.st_ino))
    return written

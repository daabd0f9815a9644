"""Kills what a lost launcher leaves behind: its orphans become children of the engine.

The launcher looks after its tasks as long as it is alive. When it dies, the kernel gives its
children, and all their orphaned descendants, to the engine, which is a child subreaper (prctl(2)).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from mprun.linux import prctl, procfs

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.linux.cgroup_end import HeldCgroup
    from mprun.linux.procfs import Stat

# For how long orphans are killed before they are reported as left, in seconds.
KILL_SECONDS = 1.0
# For how long only children are looked at, before all processes are.
CHILDREN_SECONDS = 0.2
# How long multiprocessing's resource tracker may take to remove the shared memory of tasks, in seconds.
TRACKER_SECONDS = 0.8
# How long the keeper of the launcher may take to save output once all tasks are dead, in seconds; it needs
# as long as the disk does, and gives up after a second without one.
KEEPER_SECONDS = 10.0
# The pause after each round of kills, in seconds.
KILL_INTERVAL = 0.0005


class Subreaper:
    """Kills and reaps the orphans of one launcher.

    Without a `run_id` all children of this process belong to the run, except those that exist
    now: that is the command line. With a `run_id` this process is someone else's program, and only
    processes that provably belong to the run are killed; it is a subreaper until `close`. `keeper`
    is the pid of the process that saves the output of commands, 0 if there is none. `cgroup` is the directory
    of the run's cgroup, "" if it has none, and `cgroup_folder` that directory held open. `identity` is that
    of the directory of the run, by which its processes are tagged, "" if it is unknown.
    """

    def __init__(self, launcher: int, run_id: str | None = None) -> None:
        self._run_id = run_id
        self.keeper = 0
        self.cgroup = ""
        self.cgroup_folder = -1
        self.identity = ""
        self._sessions = {launcher}
        # The start time by pid, because a process that has ended shows no environment any more.
        self._killed: dict[int, int] = {}
        self._ignored: set[int] = set()
        self._is_open = sys.platform == "linux" and run_id is not None
        if self._is_open:
            # Not the command, which has a process to itself.
            from mprun.executors.subreaper_users import SubreaperUsers

            SubreaperUsers.add()
        elif sys.platform == "linux":
            # A process that a shell has exec'd has the shell's background jobs as its children.
            self._ignored = {*procfs.children()} - {launcher}
            prctl.set_child_subreaper(True)

    def close(self) -> None:
        """Stop being a subreaper, unless this process was one before."""
        if self._is_open:
            self._is_open = False
            from mprun.executors.subreaper_users import SubreaperUsers

            SubreaperUsers.remove()

    def kill_orphans(self, attempts: Collection[int]) -> list[int]:
        """Kill and reap what the launcher left, until no more is found; the pids that are still alive.

        `attempts` are the pids of running attempts and of their parents: each led a session.
        """
        # Not at the top: a run that does not lose its launcher needs neither.
        from mprun.linux import kill_loop, pidfd_signals

        begun = time.monotonic()
        self._sessions.update(attempts)
        if self._run_id is None:
            self._kill_children()

        def find() -> dict[int, Stat]:
            everyone = procfs.processes()
            return {pid: everyone[pid] for pid in self._of_the_run(everyone) - {self.keeper}}

        def kill(found: dict[int, Stat]) -> None:
            tracker_may_finish = time.monotonic() - begun < TRACKER_SECONDS
            for pid, stat in found.items():
                if not stat.is_alive and stat.ppid == os.getpid():
                    _reap(pid)
                elif stat.is_alive and not (tracker_may_finish and procfs.is_resource_tracker(pid)):
                    pidfd_signals.kill(pid, stat.start_ticks)
                    self._killed[pid] = stat.start_ticks

        left = kill_loop.kill_until_none_left(find, kill, timeout=KILL_SECONDS, interval=KILL_INTERVAL)
        if self.keeper:
            self._await_keeper()
        return sorted(pid for pid, stat in left.items() if stat.is_alive)

    def end_cgroup(self) -> list[int]:
        """Kill what is still in the cgroup, and reap it; the pids that survive that."""
        cgroup = self._held_cgroup()
        members = cgroup.members()
        left = cgroup.end()
        for pid in members:
            _reap(pid)
        return left

    def _kill_children(self) -> None:
        """Kill and reap children, and those that come from them, until only helpers are left.

        Nearly always nothing else is left, and this needs no look at every process of the machine.
        """
        from mprun.linux import kill_loop

        helpers: set[int] = set()

        def find() -> set[int]:
            found = {*procfs.children()} - self._ignored - helpers - {self.keeper}
            helpers.update(filter(procfs.is_resource_tracker, found))
            return found - helpers

        def kill(found: set[int]) -> None:
            for pid in found:
                # Only this process reaps it, so its pid is still its own; but the thread that waits for
                # the process that matches patterns may have reaped that one just now.
                with contextlib.suppress(PermissionError, ProcessLookupError):
                    os.kill(pid, 9)
                _reap(pid)

        kill_loop.kill_until_none_left(find, kill, timeout=CHILDREN_SECONDS, interval=KILL_INTERVAL)

    def _await_keeper(self) -> None:
        """Wait until the output of commands is in their logs, and reap the process that does it."""
        from mprun.linux import pidfd_signals

        if (stat := procfs.read_stat(self.keeper)) is not None:
            pidfd_signals.await_end(self.keeper, stat.start_ticks, KEEPER_SECONDS)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.keeper, 0)

    def reap_helpers(self) -> None:
        """Reap the resource tracker of a launcher that has exited; it ends by itself."""
        if self._run_id is not None and procfs.children():
            self.kill_orphans(())

    def _of_the_run(self, everyone: dict[int, Stat]) -> set[int]:
        children = {pid for pid, stat in everyone.items() if stat.ppid == os.getpid()} - self._ignored
        ours = procfs.descendants(everyone, children)
        if self._run_id is None:
            return ours
        from mprun.linux import run_tags

        tag = run_tags.tag_of(self.identity) if self.identity else -1
        marked = {pid for pid in ours if run_tags.run_of(pid) == tag or procfs.has_run_id(pid, self._run_id)}
        proven = procfs.descendants(everyone, marked | (ours & self._members()))
        # A process inherits its session or starts one, and cannot join another: the session of one
        # of the run's processes is the run's, unless this process is in it.
        self._sessions |= {everyone[pid].session for pid in proven} - {os.getsid(0)}
        return proven | {
            pid
            for pid in ours
            if everyone[pid].session in self._sessions or self._killed.get(pid) == everyone[pid].start_ticks
        }

    def _members(self) -> set[int]:
        return self._held_cgroup().members() if self.cgroup_folder >= 0 else set()

    def _held_cgroup(self) -> HeldCgroup:
        # Not at the top: nearly every run ends without one.
        from mprun.linux.cgroup_end import HeldCgroup

        return HeldCgroup(self.cgroup, self.cgroup_folder)


def _reap(pid: int) -> None:
    """Reap this child only: other threads of a program that embeds mprun wait for their own."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

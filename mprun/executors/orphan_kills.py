"""Kills the orphans of a launcher that was lost, and ends the cgroup of its run: few runs need this."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from mprun.linux import kill_loop, pidfd_signals, procfs, run_tags
from mprun.linux.cgroup_end import HeldCgroup

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.executors.subreaper import Subreaper
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


def kill_orphans(of: Subreaper, attempts: Collection[int]) -> list[int]:
    """Kill and reap what the launcher left, until no more is found; the pids that are still alive.

    `attempts` are the pids of running attempts and of their parents: each led a session.
    """
    begun = time.monotonic()
    of.sessions.update(attempts)
    if of.run_id is None:
        kill_children(of)

    def find() -> dict[int, Stat]:
        everyone = procfs.processes()
        return {pid: everyone[pid] for pid in _of_the_run(of, everyone) - {of.keeper[0]}}

    def kill(found: dict[int, Stat]) -> None:
        tracker_may_finish = time.monotonic() - begun < TRACKER_SECONDS
        for pid, stat in found.items():
            if not stat.is_alive and stat.ppid == os.getpid():
                _reap(pid)
            elif stat.is_alive and not (tracker_may_finish and procfs.is_resource_tracker(pid)):
                pidfd_signals.kill(pid, stat.start_ticks)
                of.killed[pid] = stat.start_ticks

    left = kill_loop.kill_until_none_left(find, kill, timeout=KILL_SECONDS, interval=KILL_INTERVAL)
    if of.keeper[0]:
        _await_keeper(*of.keeper)
    return sorted(pid for pid, stat in left.items() if stat.is_alive)


def end_cgroup(of: Subreaper) -> list[int]:
    """Kill what is still in the cgroup, and reap it; the pids that survive that."""
    cgroup = HeldCgroup(of.cgroup, of.cgroup_folder)
    members = cgroup.members()
    left = cgroup.end()
    for pid in members:
        _reap(pid)
    return left


def kill_children(of: Subreaper) -> None:
    """Kill and reap children, and those that come from them, until only helpers are left.

    Nearly always nothing else is left, and this needs no look at every process of the machine.
    """
    helpers: set[int] = set()

    def find() -> dict[int, Stat]:
        found = {*procfs.children()} - of.ignored - helpers - {of.keeper[0]}
        helpers.update(filter(procfs.is_resource_tracker, found))
        stats = {pid: stat for pid in found - helpers if (stat := procfs.read_stat(pid)) is not None}
        return {pid: stat for pid, stat in stats.items() if stat.ppid == os.getpid()}

    def kill(found: dict[int, Stat]) -> None:
        for pid, stat in found.items():
            # Not by its pid alone: a thread may have reaped it just now, as the one that waits for the
            # process that matches patterns.
            pidfd_signals.kill(pid, stat.start_ticks)
            _reap(pid)

    kill_loop.kill_until_none_left(find, kill, timeout=CHILDREN_SECONDS, interval=KILL_INTERVAL)


def _await_keeper(keeper: int, start_ticks: int | None) -> None:
    """Wait until the output of commands is in their logs, and reap the process that does it."""
    stat = procfs.read_stat(keeper)
    # A launcher that has ended in order has reaped it, and its pid may be another process's.
    if stat is not None and stat.start_ticks == start_ticks:
        pidfd_signals.await_end(keeper, stat.start_ticks, KEEPER_SECONDS)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(keeper, 0)


def _of_the_run(of: Subreaper, everyone: dict[int, Stat]) -> set[int]:
    children = {pid for pid, stat in everyone.items() if stat.ppid == os.getpid()} - of.ignored
    ours = procfs.descendants(everyone, children)
    if of.run_id is None:
        return ours
    tag = run_tags.tag_of(of.identity) if of.identity else -1
    marked = {pid for pid in ours if run_tags.run_of(pid) == tag or procfs.has_run_id(pid, of.run_id)}
    proven = procfs.descendants(everyone, marked | (ours & _members(of)))
    # A process inherits its session or starts one, and cannot join another: the session of one
    # of the run's processes is the run's, unless this process is in it.
    of.sessions |= {everyone[pid].session for pid in proven} - {os.getsid(0)}
    return proven | {
        pid
        for pid in ours
        if everyone[pid].session in of.sessions or of.killed.get(pid) == everyone[pid].start_ticks
    }


def _members(of: Subreaper) -> set[int]:
    return HeldCgroup(of.cgroup, of.cgroup_folder).members() if of.cgroup_folder >= 0 else set()


def _reap(pid: int) -> None:
    """Reap this child only: other threads of a program that embeds mprun wait for their own."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

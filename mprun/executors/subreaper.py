"""The engine as second guard: what a lost launcher leaves behind comes to it and is ended.

The launcher looks after its tasks as long as it lives. When it is lost, its children, and
theirs wherever they hid, become the engine's own: it is a child subreaper (prctl(2)).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from _thread import allocate_lock
from typing import TYPE_CHECKING

from mprun.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.linux.procfs import Stat

# prctl(2), from <linux/prctl.h>.
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

# For how long what came is killed again and again, in seconds; then it is let be.
END_SECONDS = 1.0
# For how long only children are looked at, before everybody is.
LAYERS_SECONDS = 0.2
# How long multiprocessing's resource tracker may take to remove what tasks left in shared memory.
TRACKER_SECONDS = 0.3
# Between two looks at what is left: what was killed takes a moment to end.
PAUSE = 0.0005


class Guard:
    """Ends what comes to this process from its launcher.

    Without a `run_id` every child is the run's, but those that are there now: that is the
    command line. With one, this process is somebody else's, and only that is ended which
    is provably the run's; it is a subreaper until `close`.
    """

    def __init__(self, launcher: int, run_id: str | None = None) -> None:
        self._run_id = run_id
        self._sessions = {launcher}
        # By pid, when it began: whoever has ended has no environment any more.
        self._killed: dict[int, int] = {}
        self._spared: set[int] = set()
        self._is_open = sys.platform == "linux" and run_id is not None
        if self._is_open:
            _Claims.add()
        elif sys.platform == "linux":
            # Who is exec'd by a shell has the shell's background jobs as its children.
            self._spared = {*procfs.children()} - {launcher}
            _set_subreaper(1)

    def close(self) -> None:
        """Be no subreaper any more, unless this process was one before."""
        if self._is_open:
            self._is_open = False
            _Claims.give_back()

    def end_what_came(self, attempts: Collection[int]) -> list[int]:
        """Kill and reap what the launcher left, until none is new; the pids that could not be ended.

        `attempts` are the pids of those that were running and of their parents: each led a session.
        """
        # Only now: a run that loses no launcher need not load it.
        from mprun.linux import pidfd_signals

        begun = time.monotonic()
        self._sessions.update(attempts)
        if self._run_id is None:
            self._end_children(begun + LAYERS_SECONDS)
        while True:
            everyone = procfs.processes()
            found = self._of_the_run(everyone)
            if not found:
                return []
            passed = time.monotonic() - begun
            if passed > END_SECONDS:
                return sorted(pid for pid in found if everyone[pid].is_alive)
            for pid in found:
                stat = everyone[pid]
                if not stat.is_alive and stat.ppid == os.getpid():
                    _reap(pid)
                elif stat.is_alive and (passed >= TRACKER_SECONDS or not _is_tracker(pid)):
                    pidfd_signals.kill(pid, stat.start_ticks)
                    self._killed[pid] = stat.start_ticks
            time.sleep(PAUSE)

    def _end_children(self, end: float) -> None:
        """Kill and reap one's children, and those that come from them, until only helpers are left.

        Nearly always that is all, and it needs no look at every process of the machine.
        """
        helpers: set[int] = set()
        while (found := {*procfs.children()} - self._spared - helpers) and time.monotonic() < end:
            for pid in found:
                if _is_tracker(pid):
                    helpers.add(pid)
                    continue
                # Only we reap it, so its number is its own.
                with contextlib.suppress(PermissionError):
                    os.kill(pid, 9)
                _reap(pid)
            time.sleep(PAUSE)

    def wait_for_helpers(self) -> None:
        """Reap what a launcher that ended by itself left to end by itself: the resource tracker."""
        if self._run_id is not None and procfs.children():
            self.end_what_came(())

    def _of_the_run(self, everyone: dict[int, Stat]) -> set[int]:
        children = {pid for pid, stat in everyone.items() if stat.ppid == os.getpid()} - self._spared
        ours = procfs.descendants(everyone, children)
        if self._run_id is None:
            return ours
        proven = procfs.descendants(everyone, {pid for pid in ours if procfs.has_run_id(pid, self._run_id)})
        # Sessions are inherited or begun, never joined: that of one of the run's processes is
        # the run's, unless it is the one in which this process is.
        self._sessions |= {everyone[pid].session for pid in proven} - {os.getsid(0)}
        return proven | {
            pid
            for pid in ours
            if everyone[pid].session in self._sessions or self._killed.get(pid) == everyone[pid].start_ticks
        }


def _reap(pid: int) -> None:
    """Reap one child; by its pid alone, as other threads of a foreign process wait for their own."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


class _Claims:
    """Who wants this process to be a subreaper: a program may run several jobs, each in a thread."""

    _lock = allocate_lock()
    _count = 0
    _was_one = False

    @classmethod
    def add(cls) -> None:
        with cls._lock:
            if cls._count == 0:
                cls._was_one = _is_subreaper()
                _set_subreaper(1)
            cls._count += 1

    @classmethod
    def give_back(cls) -> None:
        with cls._lock:
            cls._count -= 1
            if cls._count == 0 and not cls._was_one:
                _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    # `ctypes`, of which this is the inside, takes 6 ms to import; this half a millisecond.
    import _ctypes

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # dlopen(3): None is this program
    prctl = _ctypes.dlsym(program, "prctl")
    _ctypes.call_cdeclfunction(prctl, (PR_SET_CHILD_SUBREAPER, value, 0, 0, 0))


def _is_subreaper() -> bool:
    import ctypes

    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return bool(found.value)


def _is_tracker(pid: int) -> bool:
    """Whether a process is multiprocessing's resource tracker, which ends when all tasks have."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"multiprocessing.resource_tracker" in file.read()
    except OSError:
        return False

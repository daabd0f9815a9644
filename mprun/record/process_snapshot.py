"""What a process of a run is doing now: its memory, CPU time and threads.

psutil reads it, so this works on macOS too. It is imported where it is used: the import takes 15 ms, and
most runs that are shown have finished.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.linux import procfs

if TYPE_CHECKING:
    import psutil

    from mprun.record.run_state import RunState
    from mprun.record.task_state import AttemptState


class ProcessSnapshot(Frozen):
    """A running process: seconds since its start, CPU seconds, memory in bytes, threads now.

    `max_rss` is the most memory that it has had; on macOS the memory that it has now. `suspended`
    says whether it is stopped, as after SIGSTOP.
    """

    suspended: bool
    duration: float
    cpu: float
    max_rss: int | None
    threads: int

    @property
    def status(self) -> str:
        """What it is doing, in words."""
        return "running, suspended (SIGSTOP)" if self.suspended else "running"


def snapshot(pid: int, start_ticks: int | None = None, ppid: int | None = None) -> ProcessSnapshot | None:
    """A process as it is now; None if it has ended, or another process has its pid.

    `start_ticks` is its start as /proc has it, `ppid` its parent: what is given must match.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            status = process.status()
            if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return None
            if not _matches(process, start_ticks, ppid):
                return None
            cpu = process.cpu_times()
            found = ProcessSnapshot(
                suspended=status == psutil.STATUS_STOPPED,
                duration=_seconds_since_start(process),
                cpu=cpu.user + cpu.system,
                max_rss=_max_rss(process),
                threads=process.num_threads(),
            )
        # False if the process has ended and another has got its pid since.
        return found if process.is_running() else None
    except psutil.Error:
        return None


def _matches(process: psutil.Process, start_ticks: int | None, ppid: int | None) -> bool:
    # psutil derives the start from the time of the boot; the record has the kernel's own number.
    if start_ticks is not None and procfs.start_ticks(process.pid) != start_ticks:
        return False
    return ppid is None or process.ppid() == ppid


def _seconds_since_start(process: psutil.Process) -> float:
    if (ticks := procfs.start_ticks(process.pid)) is not None:
        return procfs.seconds_since(ticks)
    import time

    return max(0.0, time.time() - process.create_time())


def _max_rss(process: psutil.Process) -> int | None:
    return procfs.read_max_rss(process.pid) or process.memory_info().rss


def snapshot_tasks(state: RunState) -> dict[str, ProcessSnapshot]:
    """The running tasks of an active run, by name, as far as their processes can be found."""
    running = [(task.name, task.attempts[-1]) for task in state.tasks.values() if task.is_running]
    found = {name: snapshot_attempt(attempt) for name, attempt in running}
    return {name: process for name, process in found.items() if process is not None}


def snapshot_attempt(attempt: AttemptState) -> ProcessSnapshot | None:
    """The process of an attempt that has not exited, in an active run; None if it cannot be found."""
    started = attempt.started
    if started.start_ticks is not None:
        return snapshot(started.pid, started.start_ticks)
    if sys.platform == "linux":
        # Every process has a start in /proc: this one was gone before it could be read.
        return None
    # macOS has no such number, but the engine is running and its children are known by their parent.
    return snapshot(started.pid, ppid=started.ppid)

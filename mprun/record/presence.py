"""What can be seen now of the processes that a record names, in a run that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.frozen import Frozen
from mprun.linux import procfs

if TYPE_CHECKING:
    from mprun.record.run_state import RunState


class ProcessSnapshot(Frozen):
    """A process that lives: seconds since its start, CPU seconds, most memory in bytes, threads now.

    `suspended` is whether it stands still, as after SIGSTOP (state T in proc(5)).
    """

    suspended: bool
    duration: float
    cpu: float
    max_rss: int | None
    threads: int

    @property
    def words(self) -> str:
        """What it does, in words."""
        return "running, suspended (SIGSTOP)" if self.suspended else "running"


def look(pid: int, start_ticks: int | None = None) -> ProcessSnapshot | None:
    """See a process; None where it has ended, or where another has its number by now."""
    stat = procfs.read_stat(pid)
    if stat is None or stat.state in "ZX" or start_ticks not in (None, stat.start_ticks):
        return None
    return ProcessSnapshot(
        suspended=stat.state == "T",
        duration=procfs.seconds_since(stat.start_ticks),
        cpu=stat.cpu,
        max_rss=procfs.read_max_rss(pid),
        threads=stat.threads,
    )


def look_at_tasks(state: RunState) -> dict[str, ProcessSnapshot]:
    """The running tasks of a run that goes on, by name, as far as they can be seen."""
    running = [(task.name, task.attempts[-1].started) for task in state.tasks.values() if task.running]
    seen = {name: look(started.pid, started.start_ticks) for name, started in running if started.start_ticks}
    return {name: sight for name, sight in seen.items() if sight is not None}

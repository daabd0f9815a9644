"""Stops the process trees of running tasks: few runs are suspended."""

from __future__ import annotations

import signal

from mprun.launcher.task_trees import trees_of
from mprun.linux import pidfd_signals, procfs
from mprun.linux.kill_loop import kill_until_none_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# For how long the launcher waits until all processes are stopped, in seconds: a busy machine takes a while.
STOP_SECONDS = 1.5


def stop_trees(leaders: dict[int, int], find_adopted: Callable[[], Iterable[int]]) -> None:
    """Stop (SIGSTOP) everything that `task_trees.kill_trees` would kill; returns once all of it is stopped.

    `find_adopted` returns the orphans that are theirs, too, although they may have no tag.
    A process in the middle of a system call that cannot be interrupted stops soon, unless it waits for a
    device, or after vfork(2) for its child, which is stopped.
    """
    sent: set[int] = set()

    def running() -> dict[int, procfs.Stat]:
        found = trees_of(leaders, find_adopted())
        parents = {stat.ppid for stat in found.values() if stat.state == "T"}
        return {
            pid: stat
            for pid, stat in found.items()
            if stat.state not in "TtZX" and not (stat.state == "D" and pid in sent and pid in parents)
        }

    def stop(found: dict[int, procfs.Stat]) -> None:
        sent.update(found)
        for pid, stat in found.items():
            pidfd_signals.kill(pid, stat.start_ticks, signal.SIGSTOP)

    kill_until_none_left(running, stop, timeout=STOP_SECONDS)

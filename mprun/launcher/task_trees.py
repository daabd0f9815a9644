"""Signals the process trees of running tasks: asks them to end, kills and resumes them."""

from __future__ import annotations

import contextlib
import os
import signal
from time import monotonic, sleep

from mprun.launcher import fork
from mprun.linux import pidfd_signals, procfs
from mprun.linux.kill_loop import kill_until_none_left
from mprun.linux.run_tags import task_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# For how long the launcher kills trees again and again, in seconds; what is left then is killed as orphans.
KILL_SECONDS = 0.5
# How long a tracer may take to let a killed process go, and the pause between two looks, in seconds.
TRACER_SECONDS = 0.5
POLL_SECONDS = 0.002
# A SIGCONT discards these if they are still pending, and a job may use one as the stop signal of a task.
_STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def leads_session(pid: int) -> bool:
    """Whether a process leads a session, so that its pid is also the id of its group."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def ask_to_end(handle: fork.ProcessHandle, number: int, *, alone: bool = False, wake: bool) -> None:
    """Send a signal to the group that a task leads; with `wake`, resume it if it is stopped.

    With `alone` both go to its process alone, and not to those that it has started.
    A stopped process (SIGSTOP) handles a signal only once it is resumed (signal(7)).
    """
    numbers = (number, signal.SIGCONT) if wake and number not in _STOP_SIGNALS else (number,)
    # It may be gone, and its end will be reported. Or it has changed its user (sudo).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for each in numbers:
            if alone:
                pidfd_signals.send(handle.pid, handle.pidfd, each)
            elif not handle.reaped_here:
                pidfd_signals.signal_group(handle.pid, handle.pidfd, each)
            elif leads_session(handle.pid):
                # Not reaped yet, so the id of its group is its own.
                os.killpg(handle.pid, each)
            else:
                pidfd_signals.send(handle.pid, handle.pidfd, each)


def wake(child: int) -> bool:
    """Resume a child if it is stopped; whether it was. 0 means no child."""
    with contextlib.suppress(ChildProcessError):
        if child and os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG):
            os.kill(child, signal.SIGCONT)
            # In the log of the main process: nothing else would explain why tasks started late.
            os.write(2, b"mprun: the fork server was stopped (SIGSTOP); resuming it\n")
            return True
    return False


def kill(leaders: dict[int, int]) -> None:
    """Kill these processes, but nothing that they have started; `leaders` maps each pid to its pidfd."""
    _signal_all(leaders, signal.SIGKILL)


def _signal_all(leaders: dict[int, int], number: int) -> None:
    for pid, pidfd in leaders.items():
        # Under forkserver another process may have reaped it by now. Or it has changed its user (sudo).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            pidfd_signals.send(pid, pidfd, number)


def kill_trees(leaders: dict[int, int]) -> None:
    """Kill the members of the tasks' sessions and all their descendants, until no new ones are found.

    Resource trackers are left to end by themselves.

    `leaders` maps the pids of tasks to a pidfd of each.
    """
    signal_trees(leaders, signal.SIGKILL)


def signal_trees(leaders: dict[int, int], number: int, adopted: Iterable[int] = ()) -> None:
    """Like `kill_trees`, with another signal; `adopted` are children of this process that are theirs, too."""
    if not leaders:
        # It would look at every process of the machine twice, for nothing.
        return
    sent = {*leaders}
    _signal_members(leaders, number, sent, adopted)
    _signal_all(leaders, number)
    # Once more: a leader may have had a child just before.
    _signal_members(leaders, number, sent, adopted)


def _signal_members(leaders: dict[int, int], number: int, sent: set[int], adopted: Iterable[int]) -> None:
    """Signal all members of the trees that are not in `sent`, and add them to it."""

    def find() -> dict[int, procfs.Stat]:
        found = {pid: stat for pid, stat in trees_of(leaders, adopted).items() if pid not in sent}
        if number != signal.SIGKILL:
            return found
        # It ends once the rest of its tree has.
        return {pid: stat for pid, stat in found.items() if not procfs.is_resource_tracker(pid)}

    def signal_found(found: dict[int, procfs.Stat]) -> None:
        sent.update(found)
        for pid, stat in found.items():
            pidfd_signals.kill(pid, stat.start_ticks, number)

    # If a task forks faster than this kills, the rest is killed as orphans once the task has ended.
    kill_until_none_left(find, signal_found, timeout=KILL_SECONDS)


def trees_of(leaders: dict[int, int], adopted: Iterable[int]) -> dict[int, procfs.Stat]:
    """The processes of these trees, by pid; the arguments are those of `signal_trees`."""
    everyone = procfs.processes()
    # Checked after the look: a leader that is unreaped now was unreaped then. Under forkserver
    # another process reaps it.
    unreaped = [pid for pid, pidfd in leaders.items() if pidfd_signals.is_unreaped(pid, pidfd)]
    own = os.getpid()
    children = [pid for pid, stat in everyone.items() if stat.ppid == own]
    orphans = [pid for pid in children if pid in adopted or task_of(pid) in unreaped]
    return procfs.trees(everyone, [*unreaped, *orphans])


def cannot_end(pid: int, pidfd: int) -> bool:
    """Whether a process that was killed has changed its user (sudo), or is held by a tracer.

    One of its tree has been killed, too, and lets it go at once; one from outside is not the run's.
    """
    try:
        pidfd_signals.send(pid, pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    end = monotonic() + TRACER_SECONDS
    while procfs.has_tracer(pid):
        if monotonic() > end:
            return True
        sleep(POLL_SECONDS)
    return False

"""Kills and reaps what a task's process leaves behind, wherever it went."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from os import killpg

from mprun.launcher import fork
from mprun.linux import pidfd_signals, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# How long the launcher goes on killing what a task left behind before it lets it be.
BURY_SECONDS = 0.5
# What was killed takes a moment to end, and hands over children of its own.
PAUSE = 0.0002
# A SIGCONT takes these back where they are not delivered yet, and a job may name one to end its task.
_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def leads_session(pid: int) -> bool:
    """Whether a process leads a session, so that the session's group bears its number."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def ask_to_end(held: fork.ProcessHandle, number: int, *, wake: bool) -> None:
    """Send a signal to the group that a task leads; with `wake` also to one that stands still.

    What was stopped (SIGSTOP) hears a signal only when it goes on (signal(7)).
    """
    numbers = (number, signal.SIGCONT) if wake and number not in _STOPS else (number,)
    # Gone already: its end is about to be reported. Or another user's by now (sudo).
    with contextlib.suppress(ProcessLookupError, PermissionError):
        for each in numbers:
            if not held.reaped_here:
                pidfd_signals.signal_group(held.pid, held.pidfd, each)
            elif leads_session(held.pid):
                # Not reaped yet, so the number of its group is its own.
                os.killpg(held.pid, each)
            else:
                signal.pidfd_send_signal(held.pidfd, each)


def kill_group(leader: int) -> None:
    """Kill the group of a process that only we reap, and have not, if it leads one.

    Its number is its own for so long, and that of a group only where it leads one.
    """
    # No contextlib, which touches more pages than all else here: see `mprun.launcher.fork`.
    try:  # noqa: SIM105
        killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def wake(child: int) -> bool:
    """Have a child go on, where somebody has stopped it; whether that was so. 0 is no child."""
    with contextlib.suppress(ChildProcessError):
        if child and os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG):
            os.kill(child, signal.SIGCONT)
            # Into the log of the main process: nobody else would know what kept the tasks.
            os.write(2, b"mprun: somebody has stopped the fork server (SIGSTOP): it goes on\n")
            return True
    return False


def kill(pidfds: Iterable[int]) -> None:
    """Kill these processes alone, by a pidfd of each."""
    _signal_all(pidfds, signal.SIGKILL)


def _signal_all(pidfds: Iterable[int], number: int) -> None:
    for pidfd in pidfds:
        # Under forkserver somebody else reaps it, perhaps by now. Or it is another user's (sudo).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(pidfd, number)


def kill_trees(leaders: dict[int, int]) -> None:
    """Kill what is in these tasks' sessions and what descends from them, until none is new.

    `leaders` are the tasks' pids, with a pidfd of each.
    """
    signal_trees(leaders, signal.SIGKILL)


def signal_trees(leaders: dict[int, int], number: int) -> None:
    """As `kill_trees`, with another signal."""
    if not leaders:
        # A look at every process of the machine, in vain, twice.
        return
    sent = {*leaders}
    end = time.monotonic() + BURY_SECONDS
    _signal_members(leaders, number, sent, end)
    _signal_all(leaders.values(), number)
    # Once more: a leader may have had a child in the instant before.
    _signal_members(leaders, number, sent, end)


def stop_trees(leaders: dict[int, int]) -> None:
    """Stop (SIGSTOP) what `kill_trees` would kill; returns when all of it stands still.

    What began between a look at the list of processes and one at its parent is seen in the
    second of two looks. One that waits for a device stops when it has what it waits for.
    """
    sent: set[int] = set()
    end = time.monotonic() + BURY_SECONDS
    clean = 0
    while clean < 2 and time.monotonic() < end:
        running = {
            pid: stat
            for pid, stat in _trees(leaders).items()
            if stat.state not in "TtZX" and not (stat.state == "D" and pid in sent)
        }
        clean = 0 if running else clean + 1
        for pid, stat in running.items():
            sent.add(pid)
            pidfd_signals.kill(pid, stat.start_ticks, signal.SIGSTOP)


def _signal_members(leaders: dict[int, int], number: int, sent: set[int], end: float) -> None:
    """Signal what is in their trees and not among `sent`, until none is new."""
    while found := {pid: stat for pid, stat in _trees(leaders).items() if pid not in sent}:
        sent.update(found)
        if time.monotonic() > end:
            # A task that forks as fast as this kills; with it gone, the rest can be buried.
            break
        for pid, stat in found.items():
            pidfd_signals.kill(pid, stat.start_ticks, number)


def _trees(leaders: dict[int, int]) -> dict[int, procfs.Stat]:
    everyone = procfs.processes()
    # After the look: who has its number now had it then. Under forkserver somebody else reaps.
    return procfs.trees(everyone, [pid for pid, pidfd in leaders.items() if pidfd_signals.is_held(pidfd)])


class ProcessIdentity:
    """What tells whose an orphan was: its session, its environment."""

    __slots__ = ("_environment", "session")

    def __init__(self, pid: int, stat: procfs.Stat | None) -> None:
        self.session = stat.session if stat is not None else 0
        self._environment = frozenset(procfs.environment(pid))

    def name(self, run_id: str, task: str, attempt: int) -> bool:
        """Whether its environment is that of this attempt, of this run and not of one inside it."""
        wanted = (f"MPRUN_TASK={task}", f"MPRUN_ATTEMPT={attempt}", f"MPRUN_RUN_ID={run_id}")
        return all(variable.encode() in self._environment for variable in wanted)


class Reaper:
    """Looks after the children that came to the launcher because their parent has ended.

    `spared` are those that are let be: there is nobody to bury where there are none of these, and
    of the `children` as many as there are tasks.
    """

    def __init__(self, children: procfs.ChildList) -> None:
        self._children = children
        self.spared: set[int] = set()
        descriptor = self._children.fileno()
        if descriptor is not None:
            fork.private_descriptors.add(descriptor)

    def ignore_present_children(self) -> None:
        """Let the present children be: multiprocessing's helpers, and what modules started."""
        self.spare(self._children.pids())

    def spare(self, pids: Iterable[int]) -> None:
        """Let these children be from now on, and no others."""
        self.spared = set(pids)

    def bury(self, tasks: set[int]) -> dict[int, ProcessIdentity]:
        """Kill and reap every child but the spared and `tasks`; those that were alive, by pid."""
        seen: dict[int, ProcessIdentity] = {}
        buried: dict[int, ProcessIdentity] = {}
        end = time.monotonic() + BURY_SECONDS
        while strangers := self._strangers(tasks):
            for pid in strangers:
                stat = procfs.read_stat(pid)
                if pid not in seen:
                    # Before it is killed: what has ended shows no environment.
                    seen[pid] = ProcessIdentity(pid, stat)
                _kill(pid)
                # The kill of its group may have come before we looked.
                if _reap(pid) == -signal.SIGKILL or (stat is not None and stat.is_alive):
                    buried[pid] = seen[pid]
            if time.monotonic() > end:
                break
            time.sleep(PAUSE)
        return buried

    def end_all(self) -> None:
        """Kill and reap every child but the spared, and what comes from them, until there is none."""
        end = time.monotonic() + BURY_SECONDS
        while children := self._strangers(set()):
            for pid in children:
                _kill(pid)
                _reap(pid)
            if time.monotonic() > end:
                break
            time.sleep(PAUSE)

    def _strangers(self, tasks: set[int]) -> list[int]:
        return [pid for pid in self._children.pids() if pid not in tasks and pid not in self.spared]


def _reap(pid: int) -> int | None:
    """The exit code of a child that has ended, None where it has not or is not ours."""
    with contextlib.suppress(ChildProcessError):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
    return None


def _kill(pid: int) -> None:
    """Kill a child: as only we reap it, and have not, its number is its own.

    It takes no descriptor, of which there may be none left.
    """
    # What has become another user's (sudo) cannot be killed; that must not end the launcher.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)

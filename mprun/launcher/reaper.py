"""Kills and reaps what tasks leave behind, in any session: the orphans that come to the launcher."""

from __future__ import annotations

import contextlib
import os
import signal
from os import killpg
from time import monotonic, sleep

from mprun.launcher import fork
from mprun.launcher.worker import can_tag
from mprun.linux import pidfd_signals, procfs
from mprun.linux.kill_loop import kill_until_none_left
from mprun.linux.run_tags import task_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mprun.launcher.process_identity import ProcessIdentity

# For how long the launcher keeps killing before it leaves the rest running, in seconds: since it last found
# a new process, and at most.
KILL_SECONDS = 0.5
MAX_KILL_SECONDS = 5.0
# From so many orphans of one task on, each is killed with its group.
MANY_ORPHANS = 20
# So many orphans of a task are named at most: no one would read more.
MAX_NAMED = 20
MAX_NAMES = 1000
# The pause between two looks at all processes while children do not end, in seconds.
WALK_INTERVAL = 0.05
# The pause after each round of kills of children, in seconds.
KILL_INTERVAL = 0.0002
# How long a resource tracker may take to end once its task has, in seconds; its Python may still be starting.
TRACKER_SECONDS = 3.0
# The pause between two looks at trackers that have not ended, in seconds.
TRACKER_INTERVAL = 0.001


# Not the member of an enumeration, on whose page there is nothing else that the launcher uses.
_SIGKILL = int(signal.SIGKILL)


def kill_group(leader: int) -> None:
    """Kill the group of a process, if it leads one.

    Only for a process that the launcher alone reaps, and has not reaped yet: until then its pid
    is its own, and so is that of its group.
    """
    # Not contextlib, which touches more pages than all the rest here: see `mprun.launcher.fork`.
    try:  # noqa: SIM105
        killpg(leader, _SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


class Reaper:
    """Kills and reaps the orphans that become children of the launcher, a subreaper.

    `ignored` are the children that it leaves alone, `adopted` the orphans of running tasks, which live
    on: by their pid those of the tasks' processes whose they may be, and `left` those that could not be
    killed, because they have changed their user, or wait for a device. An orphan has one such task, if it
    has its tag or another proof; without any it lives as long as one of those that ran when it was first
    seen. If nothing is ignored, and there are as many `children` as
    tasks and such orphans, then there are no others. An orphaned resource tracker of multiprocessing
    gets some time to remove what its task has left in shared memory.

    In its methods `tasks` are the pids of running processes of the launcher's own, and `ended` is the
    one whose orphans are killed; those of the others are left alone.
    """

    def __init__(
        self, children: procfs.ChildList, find_owners: Callable[[ProcessIdentity], frozenset[int]]
    ) -> None:
        """`find_owners` returns the pids of the running tasks whose an orphan without a tag may be."""
        self._children = children
        self._find_owners = find_owners
        self.ignored: set[int] = set()
        self.adopted: dict[int, frozenset[int]] = {}
        # The same of orphans without a tag, when they were first seen: once killed, they prove nothing.
        self._untagged: dict[int, frozenset[int]] = {}
        self.left: set[int] = set()
        # Those of them that `take_left` has not returned yet.
        self._new_left: list[int] = []
        # The names of orphans, by pid, until `take_names` returns them.
        self._names: dict[int, str] = {}
        # The resource trackers that are about to end by themselves: until when each may, by pid.
        self._trackers: dict[int, float] = {}
        descriptor = self._children.fileno()
        if descriptor is not None:
            fork.private_descriptors.add(descriptor)

    def ignore_present_children(self) -> None:
        """Leave the present children alone: multiprocessing's helpers, and what modules have started."""
        self.ignore(self._children.pids())

    def ignore(self, pids: Iterable[int]) -> None:
        """Leave these children alone from now on, and no others."""
        self.ignored = set(pids)

    def has_orphans(self, count: int, ended: int) -> bool:
        """Whether there may be orphans of `ended`, or of no running task; `count` is how many tasks run."""
        return (
            bool(self.ignored)
            or self._children.count() != count + len(self.adopted) + len(self.left)
            or any(ended in owners for owners in self.adopted.values())
        )

    def adopt(self, tasks: set[int]) -> None:
        """Note the orphans of running tasks, and reap those that have ended: a server may leave many."""
        for pid in [*self._orphans(tasks, 0), *self.adopted, *self.left]:
            if self._reap(pid) is not None:
                self.left.discard(pid)

    def find_adopted(self, tasks: set[int]) -> list[int]:
        """The orphans of running tasks."""
        self._children_except(tasks, 0)
        return [*self.adopted]

    def take_left(self) -> tuple[int, ...]:
        """The children that could not be killed since the last call."""
        left, self._new_left = self._new_left, []
        return tuple(sorted(left))

    def take_names(self, killed: tuple[int, ...], left: tuple[int, ...]) -> dict[str, str]:
        """The names of the programs that these processes run or have run, by pid, where they are known."""
        # The pid of one that was killed and reaped may be that of another process by now.
        names = {pid: self._names.pop(pid, "") for pid in killed}
        names |= {pid: procfs.read_name(pid) for pid in left[:MAX_NAMED]}
        if len(self._names) > MAX_NAMES:
            # Those of processes that had ended before they were killed.
            self._names.clear()
        return {str(pid): name for pid, name in names.items() if name}

    def _leave(self, pids: Iterable[int]) -> None:
        for pid in pids:
            self.adopted.pop(pid, None)
            if pid not in self.left:
                self.left.add(pid)
                self._new_left.append(pid)

    def kill_group(self, leader: int, tasks: set[int]) -> dict[int, ProcessIdentity | None]:
        """Kill the group of a task that has ended, or only its orphans if a resource tracker is in it.

        Returns the orphans that were alive, as `reap_orphans` does.
        """
        orphans = self._children_except(tasks, leader)
        if not any(_is_tracker_of(pid, leader) for pid in _with_descendants(orphans)):
            kill_group(leader)
            return {}
        killed = self.reap_orphans(tasks, leader)
        if self._orphans(tasks, leader):
            # They fork faster than they are killed one by one.
            kill_group(leader)
        return killed

    def reap_orphans(self, tasks: set[int], ended: int) -> dict[int, ProcessIdentity | None]:
        """Kill and reap the orphans; those that were alive, by pid, with an identity if they have no tag.

        What could not be killed is in `left` from then on.
        """
        seen: dict[int, ProcessIdentity | None] = {}
        killed: dict[int, ProcessIdentity | None] = {}

        def kill_and_reap(found: list[int]) -> None:
            for pid in found:
                if pid not in seen:
                    # Before the kill: a process that has ended shows no environment.
                    seen[pid] = None if task_of(pid) == ended else _identify(pid)
                    if len(seen) <= MAX_NAMED:
                        self._names[pid] = procfs.read_name(pid)
                self._kill(pid, len(seen))
            for pid in found:
                # The kill of its group may have reached it before this look.
                if self._reap(pid) == -signal.SIGKILL:
                    killed[pid] = seen[pid]

        still = kill_until_none_left(
            lambda: self._orphans(tasks, ended),
            kill_and_reap,
            timeout=KILL_SECONDS,
            limit=MAX_KILL_SECONDS,
            interval=KILL_INTERVAL,
        )
        self._leave(still)
        return killed

    def kill_all(self) -> list[int]:
        """Kill and reap every child except the ignored, and all that come from them; those that are left."""
        self.left.clear()
        seen: set[int] = set()
        next_walk = monotonic() + WALK_INTERVAL

        def kill_and_reap(found: list[int]) -> None:
            nonlocal next_walk
            seen.update(found)
            for pid in found:
                self._kill(pid, len(seen))
            for pid in found:
                self._reap(pid)
            if monotonic() >= next_walk:
                # A child that does not end may be held by a tracer, which is one of its descendants.
                self._kill_descendants()
                next_walk = monotonic() + WALK_INTERVAL

        def kill_rest() -> list[int]:
            kill_until_none_left(
                lambda: self._orphans(set(), 0),
                kill_and_reap,
                timeout=KILL_SECONDS,
                limit=MAX_KILL_SECONDS,
                interval=KILL_INTERVAL,
            )
            return [pid for pid in self._children_except(set(), 0) if self._is_finishing(pid)]

        # What was killed last may have started one.
        kill_until_none_left(kill_rest, _pause, timeout=TRACKER_SECONDS)
        self._trackers = dict.fromkeys(self._trackers, 0.0)
        kill_rest()
        return sorted({*self._children_except(set(), 0), *self.left})

    def _kill_descendants(self) -> None:
        everyone = procfs.processes()
        for pid in procfs.descendants(everyone, self._orphans(set(), 0)):
            if pid in everyone and not procfs.is_resource_tracker(pid):
                pidfd_signals.kill(pid, everyone[pid].start_ticks)

    def _kill(self, pid: int, count: int) -> None:
        """Kill an orphan; with many of them its whole group, in which the next one of a chain of forks is."""
        if count > MANY_ORPHANS:
            kill_group(pid)
        if not _signal(pid, signal.SIGKILL):
            self._leave([pid])

    def _orphans(self, tasks: set[int], ended: int) -> list[int]:
        return [pid for pid in self._children_except(tasks, ended) if not self._is_finishing(pid)]

    def _children_except(self, tasks: set[int], ended: int) -> list[int]:
        found, running = [], tasks - {ended}
        for pid in self._children.pids():
            if pid in tasks or pid in self.ignored or pid in self.left:
                continue
            # With none running there is nothing to find out, and a kill of many is fast.
            if running and (owners := (self.adopted.get(pid) or self._owners_of(pid, ended)) & running):
                self.adopted[pid] = owners
            else:
                found.append(pid)
        return found

    def _owners_of(self, pid: int, ended: int) -> frozenset[int]:
        """The pids of the processes of the tasks whose an orphan may be."""
        if (task := task_of(pid)) or not can_tag(procfs.real_time_limit(os.getpid())):
            # Where nothing has a tag, an orphan comes here only when its task ends.
            return frozenset((task,))
        if pid not in self._untagged:
            # Another program has reset the limit.
            orphan = _identify(pid)
            if orphan.session == ended:
                owners: frozenset[int] = frozenset()
            else:
                # Its parent may be one, whose session it has.
                owners = self.adopted.get(orphan.session) or self._find_owners(orphan)
            self._untagged[pid] = owners
        return self._untagged[pid]

    def _is_finishing(self, pid: int) -> bool:
        """Whether a child is a resource tracker that still may end by itself; reaps one that has ended."""
        if pid not in self._trackers:
            if not procfs.is_resource_tracker(pid):
                return False
            self._trackers[pid] = monotonic() + TRACKER_SECONDS
            # It may have been stopped with its task.
            _signal(pid, signal.SIGCONT)
        if self._reap(pid) is not None:
            del self._trackers[pid]
            return True
        return monotonic() < self._trackers[pid]

    def _reap(self, pid: int) -> int | None:
        """The exit code of a child that has ended; None if it has not, or is not a child."""
        with contextlib.suppress(ChildProcessError):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self.adopted.pop(pid, None)
                self._untagged.pop(pid, None)
                return os.waitstatus_to_exitcode(status)
        return None


def _identify(pid: int) -> ProcessIdentity:
    # Few orphans have no tag.
    from mprun.launcher.process_identity import ProcessIdentity

    return ProcessIdentity(pid)


def _signal(pid: int, number: int) -> bool:
    """Signal a child by its pid, which is its own: only the launcher reaps it, and has not.

    Unlike a pidfd this needs no descriptor, of which none may be left. False if that is not permitted,
    because the process has changed its user (sudo).
    """
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def _pause(trackers: list[int]) -> None:
    sleep(TRACKER_INTERVAL)


def _with_descendants(pids: list[int]) -> list[int]:
    found = [*pids]
    for pid in found:
        found += procfs.children(pid)
    return found


def _is_tracker_of(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group and procfs.is_resource_tracker(pid)
    except ProcessLookupError:
        return False

"""Runs the commands that probe whether attempts are ready, as children of the launcher beside the tasks.

A probe is the leader of a session of its own and adopts the orphans of its tree, like a task, so all
that it starts can be killed with it. It has the environment and the directory of its attempt. Its
output goes to a file of its own, which has that of the last try only.
"""

from __future__ import annotations

import contextlib
import os
from select import EPOLLIN
from time import monotonic

from mprun.launcher import fork, reaper, task_trees, worker
from mprun.launcher.own_files import open_own
from mprun.launcher.start_error import StartError
from mprun.launcher.worker import SIGKILL, close_on_exec, own_descendants, set_variables
from mprun.linux import prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterable
    from typing import Any

    from mprun.launcher.attempt import Attempt
    from mprun.launcher.channel import AttemptKey
    from mprun.launcher.process_identity import ProcessIdentity

_OUTPUT = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class Probe:
    """The process of one try; `number` is the engine's number of the try.

    `was_killed` is whether it ran when it was killed: what exit code it has then says nothing, as a shell
    may end with 0 once the program that it waits for is killed.
    """

    __slots__ = ("handle", "key", "number", "was_killed")

    def __init__(self, key: AttemptKey, number: int, handle: fork.ProcessHandle) -> None:
        self.key = key
        self.number = number
        self.handle = handle
        self.was_killed = False


class CommandProbes:
    """The probes that are running, by the descriptor that becomes readable when their process ends."""

    def __init__(
        self,
        epoll: select.epoll,
        attempts: dict[int, Attempt],
        reap_orphans: Callable[[int], dict[int, ProcessIdentity | None]],
    ) -> None:
        """`attempts` are those that are running, now and later; `reap_orphans` gives a probe's orphans."""
        # Not at the top: a job without such a probe does not need it, and each fork would copy it.
        import mprun.launcher.exec_command  # noqa: F401

        self._epoll = epoll
        self._attempts = attempts
        self._reap_orphans = reap_orphans
        self.running: dict[int, Probe] = {}

    def start(self, key: AttemptKey, number: int, request: tuple[Any, ...]) -> None:
        """Start a try: `request` has the words of the command, its variables, directory and output.

        Raises OSError if there is no room for a process.
        """
        handle = fork.Fork(_Child(os.getpid(), key, *request))
        self.running[handle.exit_fd] = Probe(key, number, handle)
        self._epoll.register(handle.exit_fd, EPOLLIN)

    def kill(self, key: AttemptKey) -> None:
        """Kill the probe of an attempt and its process tree; its end will be seen."""
        leaders = {}
        for probe in self.running.values():
            if probe.key == key:
                with contextlib.suppress(ChildProcessError):
                    probe.was_killed |= not probe.handle.has_ended()
                leaders[probe.handle.pid] = probe.handle.pidfd
        task_trees.kill_trees(leaders)

    def leaders(self) -> dict[int, int]:
        """The pid of each process, and its pidfd."""
        return {probe.handle.pid: probe.handle.pidfd for probe in self.running.values()}

    def handle_exit(self, descriptor: int) -> tuple[Any, ...] | None:
        """Reap a probe that has ended, and what it left; what to report of it, None if it is still running.

        These are the fields of `mprun.executors.base.Probed`, in their order. Orphans that an attempt left
        are noted there.
        """
        # It may have ended, and been seen, in this turn of the loop.
        probe = self.running.get(descriptor)
        if probe is None or (facts := self._reap(descriptor, probe)) is None:
            return None
        for pid, orphan in self._reap_orphans(probe.handle.pid).items():
            # One with a tag is the probe's own.
            left_by = None if orphan is None else _owner(orphan, self._attempts.values(), probe.key)
            if left_by is not None:
                left_by.orphans += (pid,)
        return facts

    def _reap(self, descriptor: int, probe: Probe) -> tuple[Any, ...] | None:
        clock, handle = monotonic(), probe.handle
        # The event may be of what had this descriptor before, earlier in this turn of the loop.
        with contextlib.suppress(ChildProcessError):
            if not handle.has_ended():
                return None
            # Not reaped yet, so its group is its own.
            reaper.kill_group(handle.pid)
        code = handle.poll()
        self._epoll.unregister(descriptor)
        del self.running[descriptor]
        handle.close()
        return probe.key, clock, probe.number, -SIGKILL if probe.was_killed else code, ""


def _owner(orphan: ProcessIdentity, attempts: Iterable[Attempt], probed: AttemptKey) -> Attempt | None:
    """The attempt that left an orphan that was found at the end of a probe; None if that left it.

    A probe has the variables of the attempt that it probes, so these prove nothing of that attempt.
    """
    run_id = os.environ["MPRUN_RUN_ID"]
    for attempt in attempts:
        if orphan.session == attempt.handle.pid:
            return attempt
        if attempt.key != probed and attempt.has_left(orphan, run_id):
            return attempt
    return None


class _Child:
    """What a fork of the launcher does to become the command of a probe."""

    def __init__(
        self,
        launcher: int,
        key: AttemptKey,
        task: str,
        words: tuple[str, ...],
        env: dict[str, str],
        cwd: str | None,
        output: str,
    ) -> None:
        self._launcher = launcher
        self._attempt = key[1]
        self._task = task
        self._words = words
        self._env = env
        self._cwd = cwd
        self._output = output

    def _bootstrap(self, parent_sentinel: int | None, barrier: int) -> int:
        """Execute the command; its exit code if that is impossible."""
        from mprun.launcher.environment import tag_attempt
        from mprun.launcher.exec_command import execute

        os.setsid()
        prctl.die_with_parent(self._launcher)
        own_descendants()
        try:
            output = open_own(worker.logs, self._output, _OUTPUT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            tag_attempt(self._task, self._attempt)
            set_variables(self._env)
            execute(self._words, self._cwd, None, 0, close_on_exec)
        except StartError as error:
            os.write(2, f"{error}\n".encode("utf-8", "backslashreplace"))
            return error.exit_code

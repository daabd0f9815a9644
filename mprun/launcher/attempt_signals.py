"""Sends signals to attempts, in the order in which they are due: after a dump of stacks, and to a group.

The engine says which signal an attempt gets and when it is killed; this module has what lies between the
request and the signal, and between the end of a process and that of its group.
"""

from __future__ import annotations

import signal
from select import EPOLLONESHOT
from signal import SIGKILL
from time import monotonic

from mprun.launcher import task_trees
from mprun.launcher.worker import SETTLE_SECONDS, import_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from mprun.launcher.attempt import Attempt
    from mprun.launcher.channel import AttemptKey
    from mprun.launcher.group_grace import OpenEnds
    from mprun.launcher.stack_dump import StackDumps


class AttemptSignals:
    """The signals that the engine has asked for, and whether the run is suspended.

    A signal with a title is sent once the stacks of the task are in its log below that title, or cannot be
    had. An attempt whose group was asked to end is over once all of the group is, or is killed. While there
    may be either, `is_waiting` is true: then `advance` is due in each turn, `pause` seconds after the last
    one at the latest. `attempts` are those that are running.

    `leaders` returns the pidfds of all tasks by pid, and `find_adopted` the orphans that are theirs, too.
    `handle_exit` is called with an attempt that a kill has ended, `give_up` with one that cannot be killed.
    """

    def __init__(
        self,
        epoll: Any,
        attempts: dict[AttemptKey, Attempt],
        leaders: Callable[[], dict[int, int]],
        find_adopted: Callable[[], Iterable[int]],
        handle_exit: Callable[[Attempt], None],
        give_up: Callable[[Attempt], None],
    ) -> None:
        self._epoll = epoll
        self._attempts = attempts
        self._leaders = leaders
        self._find_adopted = find_adopted
        self._handle_exit = handle_exit
        self._give_up = give_up
        self._dumps: StackDumps | None = None
        self._open_ends: OpenEnds | None = None
        # An attribute, because the launcher looks at it between two forks.
        self.is_waiting = False
        self.suspended = False

    # ---- one attempt

    def send(self, key: AttemptKey, name: str, title: str, to: str) -> None:
        """Send a signal, by its name, to an attempt if it is running: to its group, or `to` its process."""
        attempt = self._attempts.get(key)
        if attempt is None or attempt.handle.pidfd < 0:
            return
        attempt.asked = True
        # A program may use SIGUSR2, which asks for a dump, in its own way.
        if title and attempt.program is None and not self.suspended:
            handle = attempt.handle
            dumps = self._stack_dumps()
            if dumps is not None and dumps.request(
                (key, name, "", to), title, attempt.log, handle.pid, handle.pidfd
            ):
                self.is_waiting = True
                return
        self._send_now(attempt, getattr(signal, name), alone=to == "process")

    def _stack_dumps(self) -> StackDumps | None:
        if self._dumps is None:
            # Few tasks time out, and every fork would copy the module.
            import_standard("mprun.launcher.stack_dump")
            try:
                from mprun.launcher.stack_dump import StackDumps
            except Exception:
                # There may be no free descriptor. The signal is due all the same.
                return None
            self._dumps = StackDumps()
        return self._dumps

    def _send_now(self, attempt: Attempt, number: int, *, alone: bool) -> None:
        if number == SIGKILL:
            task_trees.kill_trees({attempt.handle.pid: attempt.handle.pidfd})
            if self._open_ends is not None and attempt in self._open_ends.attempts:
                self._open_ends.take(attempt)
                self._handle_exit(attempt)
            elif task_trees.cannot_end(attempt.handle.pid, attempt.handle.pidfd):
                self._give_up(attempt)
            return
        attempt.group_asked = not alone
        # In a suspended run, tasks handle the signal once the run is resumed.
        task_trees.ask_to_end(attempt.handle, number, alone=alone, wake=not self.suspended)

    # ---- what is waited for

    def keep_end_open(self, attempt: Attempt) -> bool:
        """Whether others of its group have not ended yet: they were asked to, and have the grace, too."""
        if self._open_ends is None:
            # Most jobs stop nothing.
            import_standard("mprun.launcher.group_grace")
            from mprun.launcher.group_grace import OpenEnds

            self._open_ends = OpenEnds()
        if attempt in self._open_ends.attempts or self._open_ends.hold(attempt):
            # At most one event more: the other end of its descriptor may be closed.
            self._epoll.modify(attempt.handle.exit_fd, EPOLLONESHOT)
            self.is_waiting = True
            return True
        return False

    def pause(self) -> float | None:
        """The seconds until `advance` is due; None if there is nothing to wait for."""
        if self._dumps is not None and self._dumps.pending:
            return SETTLE_SECONDS
        if self._open_ends is not None and self._open_ends.attempts:
            return self._open_ends.pause(monotonic())
        return None

    def advance(self) -> list[Attempt]:
        """Send the signals whose dumps are complete; the attempts whose group has ended since."""
        if self._dumps is not None and self._dumps.pending:
            for dump in self._dumps.take_finished():
                self.send(*dump.request)
        if self._open_ends is not None and (now := monotonic()) >= self._open_ends.next_look:
            return self._open_ends.take_ended(now)
        self.is_waiting = self.pause() is not None
        return []

    def end(self, key: AttemptKey) -> None:
        """An attempt has ended: what it has dumped is in its log before its end is reported."""
        if self._dumps is not None and self._dumps.pending:
            self._dumps.end(key)

    # ---- all attempts

    def suspend(self) -> None:
        """Stop all processes of all tasks; no others are to be started."""
        self.suspended = True
        import_standard("mprun.launcher.tree_stops")
        from mprun.launcher.tree_stops import stop_trees

        stop_trees(self._leaders(), self._find_adopted)

    def resume(self) -> None:
        """Have all of them continue."""
        self.suspended = False
        adopted = self._find_adopted()
        task_trees.signal_trees(self._leaders(), signal.SIGCONT, adopted)

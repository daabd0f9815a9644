"""The signals of a run: handlers that only take a note, and the inbox that the engine's loop reads."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# These stop the run.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ctrl-Z, and the signal of a client that has written a request (`mprun.engine.control`).
SUSPEND, REQUEST = signal.SIGTSTP, signal.SIGUSR1
HANDLED = (*ENDING, SUSPEND, REQUEST)

# What SIGCONT ends must work at any time, and a process that aborts itself must end.
_NOT_HELD = (signal.SIGCONT, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD, signal.SIGABRT)

# A stop signal kills the run if the first one came this many seconds before it, or earlier.
# timeout(1), systemd and others send two at once, and mean one.
REPEAT_SECONDS = 1.0

# A signal, and the reading of the monotonic clock at which it arrived.
Received = tuple[int, float]


class StopSignals:
    """Decides which stop signals only ask a run to end, and which cut its tasks' graces short.

    `first` is the first signal, None so far: it decides the exit code.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._first_at = 0.0
        self._was_interrupted = False

    def receive(self, number: int, at: float) -> bool:
        """Note a signal of ENDING that arrived at `at` seconds; whether it kills the run.

        A second SIGINT does, and so does any other second signal that does not come together with
        the first. SIGHUP never does: a shell and the kernel each send one if a terminal is closed.
        """
        is_first, was_interrupted = self.first is None, self._was_interrupted
        if is_first:
            self.first, self._first_at = number, at
        self._was_interrupted = was_interrupted or number == signal.SIGINT
        if is_first or number == signal.SIGHUP:
            return False
        return (number == signal.SIGINT and was_interrupted) or at - self._first_at >= REPEAT_SECONDS


class SignalInbox:
    """Signals that have arrived; `fileno` becomes readable with each. A context manager.

    Outside of the main thread Python allows no handlers, and the inbox stays empty. At the end the
    handlers from before are set again, or `after_end` for the signals that would end the process: its
    exit code is in the record by then.
    """

    def __init__(self, after_end: Callable[[int, FrameType | None], None] | None = None) -> None:
        self._after_end = after_end
        self._received: list[Received] = []
        self._deferred: list[Received] = []
        # The first signal that ends the run, None so far.
        self.ending: int | None = None
        # See `mprun.reporters.base.Signals`.
        self.inquiries = self.resumptions = 0
        self.before_suspend: Callable[[], object] | None = None
        self._previous_handlers: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> SignalInbox:
        try:
            self._previous_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            return self
        # A parent may have had it ignored; then the kernel discards the exit status of every child. Or a
        # handler may reap those of this run. One that is not Python's could not be set again.
        if signal.getsignal(signal.SIGCHLD) is not None:
            self._previous_handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        for number in HANDLED:
            if number in (signal.SIGHUP, SUSPEND) and signal.getsignal(number) == signal.SIG_IGN:
                # nohup(1) ignores SIGHUP on purpose, a shell without job control SIGTSTP.
                continue
            self._previous_handlers[number] = signal.signal(number, self._receive)
        self._previous_handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._resumed)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            if self._after_end is not None and number in HANDLED and number != SUSPEND:
                handler = signal.SIG_IGN if number == REQUEST else self._after_end
            signal.signal(number, handler)
        if self._previous_handlers:
            signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def hold_others(self) -> None:
        """Hold back the signals that end a process and have no handler: the exit code is decided.

        Those of a defect of this process, and those that stop it, are not.
        """
        if self._after_end is not None and self._previous_handlers:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {*HANDLED, *_NOT_HELD})

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        # The time of the arrival: the loop may read two that came seconds apart at once.
        self._received.append((number, time.monotonic()))
        if self.ending is None and number in ENDING:
            self.ending = number

    def _resumed(self, _number: int, _frame: FrameType | None) -> None:
        self.resumptions += 1

    def fileno(self) -> int:
        """A descriptor that is readable when a signal has arrived."""
        return self._reader

    def take(self) -> list[Received]:
        """The signals since the last call, in order, with their times; SIGTSTP only once."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        received, self._received = self._received, []
        # To suspend twice is to suspend once. A second Ctrl-C has a meaning of its own.
        first_suspend = next((one for one in received if one[0] == SUSPEND), None)
        return [one for one in received if one[0] != SUSPEND or one is first_suspend]

    def defer(self, one: Received) -> None:
        """Keep a signal that was taken too early until `restore`."""
        self._deferred.append(one)

    def restore(self) -> None:
        """Receive the deferred signals once more."""
        if self._deferred:
            self._received[:0], self._deferred = self._deferred, []
            # The pipe is full if it is readable already.
            with contextlib.suppress(BlockingIOError):
                os.write(self._writer, b"\0")

    def suspend_self(self) -> None:
        """Suspend this process until it gets SIGCONT."""
        if self.before_suspend is not None:
            self.before_suspend()
        # Not SIGTSTP: the kernel ignores it in a process group without a shell's job control.
        os.kill(os.getpid(), signal.SIGSTOP)
        # A SIGTSTP that arrived just before was meant for this suspension.
        self._received = [one for one in self._received if one[0] != SUSPEND]


def block_in_this_thread() -> None:
    """Leave all signals to the main thread: they must end its wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def exit_signal(code: int | None) -> str | None:
    """The name of the signal that killed a process with this exit code, None if none did."""
    return signal_name(-code) if code is not None and code < 0 else None


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 40` for a real-time signal, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

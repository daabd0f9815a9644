"""The signals of a run: handlers that only take a note, and the inbox that the engine's loop reads."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

# These stop the run.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ctrl-Z, and the signal of a client that has written a request (`mprun.engine.control`).
SUSPEND, REQUEST = signal.SIGTSTP, signal.SIGUSR1
HANDLED = (*ENDING, SUSPEND, REQUEST)


class SignalInbox:
    """Signals that have arrived; `fileno` becomes readable with each. A context manager.

    Outside of the main thread Python allows no handlers, and the inbox stays empty.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        # Whether a signal has arrived that ends the run.
        self.has_ending = False
        self._previous_handlers: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> SignalInbox:
        try:
            self._previous_wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            return self
        # A parent may have had it ignored; then the kernel discards the exit status of every child.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        for number in HANDLED:
            if number in (signal.SIGHUP, SUSPEND) and signal.getsignal(number) == signal.SIG_IGN:
                # nohup(1) ignores SIGHUP on purpose, a shell without job control SIGTSTP.
                continue
            self._previous_handlers[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if self._previous_handlers:
            signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self._reader)
        os.close(self._writer)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        self.has_ending = self.has_ending or number in ENDING

    def fileno(self) -> int:
        """A descriptor that is readable when a signal has arrived."""
        return self._reader

    def take(self) -> list[int]:
        """The numbers of the signals since the last call, in order; SIGTSTP only once."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        received, self._received = self._received, []
        # To suspend twice is to suspend once. A second Ctrl-C has a meaning of its own.
        return [
            number
            for index, number in enumerate(received)
            if number != SUSPEND or SUSPEND not in received[:index]
        ]

    def suspend_self(self) -> None:
        """Suspend this process until it gets SIGCONT."""
        # Not SIGTSTP: the kernel ignores it in a process group without a shell's job control.
        os.kill(os.getpid(), signal.SIGSTOP)
        # A SIGTSTP that arrived just before was meant for this suspension.
        self._received = [number for number in self._received if number != SUSPEND]


def exit_signal(code: int | None) -> str | None:
    """The name of the signal that killed a process with this exit code, None if none did."""
    return signal_name(-code) if code is not None and code < 0 else None


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 40` for a real-time signal, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""The signals that a run listens to: noted when they come, acted on by the engine's loop."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ctrl-Z, and somebody who has left a request (`mprun.engine.control`).
SUSPEND, REQUEST = signal.SIGTSTP, signal.SIGUSR1
HANDLED = (*ENDING, SUSPEND, REQUEST)


class SignalInbox:
    """Handlers that only note; `fileno` becomes readable with each signal noted.

    Where this is not the main thread, Python allows no handlers, and none are set.
    """

    def __init__(self) -> None:
        self._noted: list[int] = []
        # Whether one has come that ends the run.
        self.ending = False
        self._before: dict[int, Any] = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def __enter__(self) -> SignalInbox:
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:
            return self
        # Ignored by whoever started us, it would hide every end of a process (FAULTS 7).
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        for number in HANDLED:
            if number in (signal.SIGHUP, SUSPEND) and signal.getsignal(number) == signal.SIG_IGN:
                # What nohup(1) asks for, and a shell without job control.
                continue
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(number)
        self.ending = self.ending or number in ENDING

    def fileno(self) -> int:
        """A descriptor that is readable when a signal has come."""
        return self._reader

    def take(self) -> list[int]:
        """The numbers of the signals since the last call, in order."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
        noted, self._noted = self._noted, []
        # Asked twice is asked once; Ctrl-C is not.
        return [
            number for place, number in enumerate(noted) if number != SUSPEND or SUSPEND not in noted[:place]
        ]

    def suspend_self(self) -> None:
        """Suspend this process until somebody says SIGCONT."""
        # Not SIGTSTP, which does nothing to a process group that no shell looks after.
        os.kill(os.getpid(), signal.SIGSTOP)
        # What came in the moment before goes on with this `fg`.
        self._noted = [number for number in self._noted if number != SUSPEND]

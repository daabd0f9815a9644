"""Waits for what the engine reacts to: reports of the executor, signals, answers of probes."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.engine.signals import SignalInbox
    from mprun.executors.base import Executor
    from mprun.reporters.base import Display

# After this time without any report, the poller checks whether the executor was stopped.
CHECK_INTERVAL_SECONDS = 1.0
EXECUTOR_WAS_STOPPED = "the main process was stopped (SIGSTOP); resuming it"


class Poller:
    """Waits on the executor, the signal inbox and any descriptor that is added.

    `signalled` is whether the last wait saw a signal. An executor that was stopped (SIGSTOP)
    is resumed, and `warn` gets a message. The `display` gets to write what its readers take.
    """

    def __init__(
        self,
        executor: Executor,
        inbox: SignalInbox,
        warn: Callable[[str], None],
        display: Display | None = None,
    ) -> None:
        self._executor = executor
        self._inbox_descriptor = inbox.fileno()
        self._warn = warn
        self._display = display
        self.signalled = False
        self._is_flushed = True
        self._poll = select.poll()
        self._poll.register(executor.fileno(), select.POLLIN)
        self._poll.register(self._inbox_descriptor, select.POLLIN)

    def add(self, descriptor: int) -> None:
        """Also end a wait when this descriptor is readable."""
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, timeout: float | None) -> bool:
        """Flush the executor, then wait at most `timeout` seconds; whether anything happened.

        It never waits longer than CHECK_INTERVAL_SECONDS: the caller calls it again.
        """
        is_flushed = self._executor.flush()
        if is_flushed != self._is_flushed:
            self._is_flushed = is_flushed
            events = select.POLLIN if is_flushed else select.POLLIN | select.POLLOUT
            self._poll.modify(self._executor.fileno(), events)
        longest = CHECK_INTERVAL_SECONDS if timeout is None else min(timeout, CHECK_INTERVAL_SECONDS)
        waiting = self._display.waiting() if self._display is not None else ()
        for descriptor in waiting:
            self._poll.register(descriptor, select.POLLOUT)
        # Rounded up, so that the deadline has passed when the wait ends.
        ready = self._poll.poll(int(longest * 1000) + 1)
        for descriptor in waiting:
            self._poll.unregister(descriptor)
        if self._display is not None:
            self._display.pump([descriptor for descriptor, _ in ready if descriptor in waiting])
        self.signalled = any(descriptor == self._inbox_descriptor for descriptor, _ in ready)
        if not ready and self._executor.wake():
            self._warn(EXECUTOR_WAS_STOPPED)
        return bool(ready)

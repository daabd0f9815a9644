"""Ends the launcher when the engine dies while the launcher cannot read its socket.

Its loop reads end-of-file from the socket. But an import may take a minute, and the fork server
up to ten seconds to answer; for that long no task may outlive an engine that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal

from mprun.linux import prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def continue_on_parent_death() -> None:
    """Receive SIGCONT when the engine dies (Linux), so that a stopped launcher reads of it, too."""
    prctl.set_parent_death_signal(signal.SIGCONT)


@contextlib.contextmanager
def ending_with_the_engine(end: Callable[[], None], engine: int) -> Iterator[None]:
    """Call `end` if the engine, a pid, dies inside this context or has died before.

    `end` runs in a signal handler, between two bytecode instructions; it must not return.
    """
    launcher = os.getpid()

    def handle(number: int, frame: object) -> None:
        # Any process may send SIGCONT, and a module may fork when it is imported.
        if os.getpid() == launcher and os.getppid() != engine:
            end()

    before = signal.signal(signal.SIGCONT, handle)
    try:
        if os.getppid() != engine:
            end()
        yield
    finally:
        # A module may have set a handler of its own.
        if signal.getsignal(signal.SIGCONT) is handle:
            signal.signal(signal.SIGCONT, before)

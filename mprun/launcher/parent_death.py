"""Ends the launcher with its engine also while it does something that keeps it from reading of that.

Its loop reads end-of-file. But an import may take a minute, and the fork server ten seconds
to answer; for so long nobody may outlive an engine that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal

from mprun.launcher.worker import PR_SET_PDEATHSIG, set_process_control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def continue_on_parent_death() -> None:
    """Get SIGCONT when the engine dies (Linux): one that somebody has stopped is to read of it, too."""
    set_process_control(PR_SET_PDEATHSIG, signal.SIGCONT)


@contextlib.contextmanager
def ending_with_the_engine(end: Callable[[], None], engine: int) -> Iterator[None]:
    """Meanwhile the death of the engine, a pid, calls `end`, between two steps of Python.

    Also one that came before; `end` is not to return.
    """
    launcher = os.getpid()

    def look(number: int, frame: object) -> None:
        # A SIGCONT may be anybody's, and a module may fork when it is imported.
        if os.getpid() == launcher and os.getppid() != engine:
            end()

    before = signal.signal(signal.SIGCONT, look)
    try:
        if os.getppid() != engine:
            end()
        yield
    finally:
        # A module may have set a handler of its own.
        if signal.getsignal(signal.SIGCONT) is look:
            signal.signal(signal.SIGCONT, before)

"""Whether this process is in the foreground of a terminal (tty(4)), and reading from it without a stop."""

from __future__ import annotations

import os
import signal
import termios


def in_foreground(terminal: int) -> bool:
    """Whether what is typed on a terminal, a descriptor, is for this process."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def read_typed(terminal: int, limit: int) -> bytes:
    """What was typed on a terminal that is readable; empty in the background, where no one types for us."""
    # While it is blocked, a read in the background is an error: this process may have been moved since.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
    try:
        return os.read(terminal, limit) if in_foreground(terminal) else b""
    except OSError:
        return b""
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def echoes_lines(terminal: int) -> bool:
    """Whether a terminal shows the line feeds that are typed."""
    try:
        return bool(termios.tcgetattr(terminal)[3] & (termios.ECHO | termios.ECHONL))
    except (OSError, termios.error):
        return False

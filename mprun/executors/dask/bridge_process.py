"""The engine's hold on the bridge: the process that has dask's client.

To import that takes longer than all else of a start, so the process begins with it before anything is asked
of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from _socket import socketpair
from signal import SIGKILL

from mprun.linux import open_files
from mprun.linux.pidfd_signals import close_pidfd, has_ended, open_pidfd, send

# How long it may take to end what runs on the hosts, in seconds; then it is killed.
CLOSE_SECONDS = 40.0
# The descriptor of its end of the socket.
_SOCKET = 3
# It makes many objects, and none of them is garbage.
_PROGRAM = f"import gc; gc.disable(); from mprun.executors.dask.bridge_main import serve; serve({_SOCKET})"


class BridgeProcess:
    """A bridge, and a socket to it."""

    def __init__(self) -> None:
        self.socket, theirs = socketpair()
        # `subprocess` and `socket` take a megabyte for as long as the run lasts. Nothing is imported from the
        # working directory (-P); in a session of its own, so that Ctrl-C stops the run and not this process.
        self._pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-c", _PROGRAM],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_CLOSE, number) for number in open_files.inheritable()),
                *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(_SOCKET)),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET),
            ],
            setsid=True,
        )
        theirs.close()
        # -1 once it has ended.
        self._pidfd = open_pidfd(self._pid)
        self._exit_code: int | None = None
        self._is_used = False

    def use(self) -> BridgeProcess:
        """A run uses it from now on, and closes it."""
        self._is_used = True
        return self

    def end_unused(self) -> None:
        """Kill it if no run uses it: it has done nothing."""
        if not self._is_used:
            self._end(0.0)

    def close(self) -> None:
        """Have it end what runs on the hosts, and wait for that."""
        self._end(CLOSE_SECONDS)

    def _end(self, seconds: float) -> None:
        self.socket.close()
        if not self._has_ended(seconds):
            with contextlib.suppress(ProcessLookupError):
                send(self._pid, self._pidfd, SIGKILL)
            self._has_ended(CLOSE_SECONDS)

    def _has_ended(self, seconds: float) -> bool:
        """Wait until it has ended, for some seconds at most, and reap it; whether it has."""
        if self._pidfd >= 0 and has_ended(self._pidfd, seconds):
            # It is unknown how if another thread reaps all children.
            with contextlib.suppress(ChildProcessError):
                self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            close_pidfd(self._pidfd)
            self._pidfd = -1
        return self._pidfd < 0

    def how(self) -> str:
        """How it has ended, in words."""
        self._has_ended(1.0)
        return f"exit {self._exit_code}"

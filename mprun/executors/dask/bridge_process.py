"""The engine's hold on the bridge: the process that has dask's client.

To import that takes longer than all else of a start, so the process begins with it before anything is asked
of it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from socket import socketpair

# How long it may take to end what runs on the hosts, in seconds; then it is killed.
CLOSE_SECONDS = 40.0
# It makes many objects, and none of them is garbage.
_PROGRAM = "import gc; gc.disable(); from mprun.executors.dask.bridge_main import serve; serve({})"


class BridgeProcess:
    """A bridge, and a socket to it."""

    def __init__(self) -> None:
        ours, theirs = socketpair()
        descriptor = theirs.fileno()
        # Not what is in the working directory; in a session of its own, so that Ctrl-C stops the run and not
        # this process.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM.format(descriptor)],
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.socket = ours
        self._is_used = False

    def use(self) -> BridgeProcess:
        """A run uses it from now on, and closes it."""
        self._is_used = True
        return self

    def end_unused(self) -> None:
        """Kill it if no run uses it: it has done nothing."""
        if not self._is_used:
            self.socket.close()
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Have it end what runs on the hosts, and wait for that."""
        self.socket.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def how(self) -> str:
        """How it has ended, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return f"exit {self._process.poll()}"

"""Writes to a descriptor that may block, and cannot be opened again: see `mprun.reporters.outlet`."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

# The pause before the next attempt, in seconds, if the descriptor is called writable and takes nothing.
_PAUSE_SECONDS = 0.05


class Relay:
    """A thread that copies a pipe, which never blocks its writer, to a descriptor that may block.

    Once the descriptor's reader has gone, writing to the pipe is an error.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)
        # With the lock, a byte is either in the pipe or in `_unwritten`, until it is written.
        self._lock = threading.Lock()
        self._unwritten = b""
        self._has_ended = False
        threading.Thread(target=self._copy, name="output", daemon=True).start()

    def is_busy(self) -> bool:
        """Whether something was not written yet, and may still be."""
        with self._lock:
            if self._has_ended:
                return False
            return bool(self._unwritten or _poller(self._reader, select.POLLIN).poll(0))

    def left(self) -> int:
        """How many lines were not written; for the end alone."""
        with self._lock:
            if self._has_ended:
                return 0
            left = self._unwritten
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self._reader, 65536):
                    left += data
        return left.count(b"\n")

    def _copy(self) -> None:
        try:
            readable = _poller(self._reader, select.POLLIN)
            while True:
                readable.poll()
                with self._lock, contextlib.suppress(BlockingIOError):
                    self._unwritten = os.read(self._reader, 4096)
                while self._unwritten:
                    self._unwritten = self._unwritten[self._write() :]
        except OSError:
            with self._lock:
                self._has_ended = True
                # The next write to the pipe fails, too.
                os.close(self._reader)

    def _write(self) -> int:
        """Write what the reader takes, and wait for it; how many bytes, which may be none."""
        # O_NONBLOCK may be set: any process that shares the descriptor can do so.
        with contextlib.suppress(BlockingIOError):
            return os.write(self._descriptor, self._unwritten)
        _poller(self._descriptor, select.POLLOUT).poll()
        with contextlib.suppress(BlockingIOError):
            return os.write(self._descriptor, self._unwritten)
        # As a terminal with room for one byte.
        time.sleep(_PAUSE_SECONDS)
        return 0


def _poller(descriptor: int, event: int) -> select.poll:
    poller = select.poll()
    poller.register(descriptor, event)
    return poller

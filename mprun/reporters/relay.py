"""Writes to a descriptor that may block, and cannot be opened again: see `mprun.reporters.outlet`."""

from __future__ import annotations

import contextlib
import os
import select
import threading


class Relay:
    """A thread that copies a pipe, which never blocks its writer, to a descriptor that may block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self._unwritten = b""
        threading.Thread(target=self._copy, name="output", daemon=True).start()

    def is_busy(self) -> bool:
        """Whether something was not written yet."""
        return bool(self._unwritten or select.select([self._reader], [], [], 0)[0])

    def left(self) -> int:
        """How many lines were not written; for the end alone."""
        left = self._unwritten
        os.set_blocking(self._reader, False)
        with contextlib.suppress(OSError):
            while data := os.read(self._reader, 65536):
                left += data
        return left.count(b"\n")

    def _copy(self) -> None:
        try:
            while True:
                select.select([self._reader], [], [])
                self._unwritten = os.read(self._reader, 4096)
                while self._unwritten:
                    written = os.write(self._descriptor, self._unwritten)
                    self._unwritten = self._unwritten[written:]
        except OSError:
            # The next write to the pipe fails, too.
            self._unwritten = b""
            os.close(self._reader)

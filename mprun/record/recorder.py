"""Appends the events of a run to its record, `events.jsonl`, as they happen."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun import failpoints
from mprun.errors import RecordError, RecordRemoved
from mprun.record import lock
from mprun.record.line_format import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.record.events import Event
    from mprun.record.state_dir import RunDirectory


class Recorder:
    """Appends events to a run's record, with one write for all events of one turn of the loop.

    It holds a lock on the record while it is open, by which `lock.find_writer` finds this process.
    `file` is the record of a run that has not begun, from `lock.create_record`; without it, the record of
    another run is opened. Raises RecordError if another process writes the record, or it cannot be written.
    """

    # What could not be written yet. It is written before the next events, so that a line that was
    # cut short is completed.
    _unwritten = b""

    def __init__(self, directory: RunDirectory, file: int = -1) -> None:
        self._name = directory.events
        # Whether the lock shows other processes that this one writes it; not on a file system without locks.
        self.is_locked = True
        if file >= 0:
            self._file = file
            self._begin(directory)
            # Some file systems count no links.
            self._counts_links = os.fstat(file).st_nlink > 0
            return
        self._file = directory.open_events(os.O_RDWR | os.O_APPEND | os.O_CREAT)
        locked = lock.acquire(self._file)
        if locked is False:
            os.close(self._file)
            raise RecordError(f"{directory.events} is being written by another process")
        self.is_locked = locked is True
        self._counts_links = os.fstat(self._file).st_nlink > 0

    def _begin(self, directory: RunDirectory) -> None:
        try:
            directory.begin()
        except OSError as error:
            self.close()
            raise RecordError(f"the record cannot be written: {error.strerror}") from None

    def append(self, batch: Sequence[Event]) -> None:
        """Write events; raises RecordError if they cannot be written in full, or the record was removed.

        The rest is written before the next events, so no event is lost if the disk has room again.
        """
        data = memoryview(self._unwritten + encode(batch))
        try:
            failpoints.reached("record.before")
            if failpoints.is_set("record.torn"):
                data = data[os.write(self._file, data[: len(data) // 2]) :]
                failpoints.reached("record.torn")
            while data:
                data = data[os.write(self._file, data) :]
            failpoints.reached("record.after")
        except OSError as error:
            self._unwritten = bytes(data)
            raise RecordError(f"the record cannot be written: {error.strerror}") from None
        self._unwritten = b""
        self._require_link()

    def _require_link(self) -> None:
        """Raise RecordRemoved if the record has no name any longer: what is written to it is lost."""
        if self._counts_links and not os.fstat(self._file).st_nlink:
            raise RecordRemoved(f"the record of this run was removed: {self._name}")

    def close_last_line(self) -> None:
        """End a line that was torn when its writer was killed, so that the next event gets its own."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def close(self) -> None:
        """Close the record and give up the lock on it."""
        lock.close_record(self._file)

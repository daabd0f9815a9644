"""Appends the events of a run to its record, `events.jsonl`, as they happen."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mprun import failpoints
from mprun.errors import RecordError, RecordRemoved
from mprun.record import lock
from mprun.record.events import RunFinished
from mprun.record.line_format import encode
from mprun.record.state_dir import EVENTS

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
    # Whether the file system shows by its numbers which file has a name.
    _has_identity = False

    def __init__(self, directory: RunDirectory, file: int = -1) -> None:
        self._name = directory.events
        # Whether the lock shows other processes that this one writes it; not on a file system without locks.
        self.is_locked = True
        if file >= 0:
            self._file = file
            self._begin(directory)
            self._identify(directory)
            return
        self._file = directory.open_events(os.O_RDWR | os.O_APPEND | os.O_CREAT)
        locked = lock.acquire(self._file)
        if locked is False:
            os.close(self._file)
            raise RecordError(f"{directory.events} is being written by another process")
        self.is_locked = locked is True
        self._identify(directory)

    def _begin(self, directory: RunDirectory) -> None:
        try:
            directory.begin()
        except OSError as error:
            self.close()
            raise RecordError(f"the record cannot be written: {error.strerror}") from None

    def _identify(self, directory: RunDirectory) -> None:
        """Note which file the record is, and its size, to see later whether it is still there."""
        self._folder = directory.folder
        # On some file systems a directory has another number each time.
        self._ways = [folder for folder in directory.ways() if not folder.misplaced()]
        self._state, self._path = directory.state, directory.path_in_state()
        found = os.fstat(self._file)
        self._size = found.st_size
        self._identity = found.st_dev, found.st_ino
        with contextlib.suppress(OSError):
            named = self._state.stat(self._path)
            # Some file systems give a file another number each time; then any file of the name will do.
            self._has_identity = (named.st_dev, named.st_ino) == self._identity

    @property
    def has_other_name(self) -> bool:
        """Whether the record is a file that has another name, too: what is appended changes that as well."""
        return os.fstat(self._file).st_nlink > 1

    def append(self, batch: Sequence[Event]) -> None:
        """Write events; raises RecordError if they cannot be written in full, or the record was removed.

        RecordRemoved also says that it was replaced or changed: then, too, no one can read all of it. The
        rest is written before the next events, so no event is lost if the disk has room again.
        """
        data = memoryview(self._unwritten + encode(batch))
        try:
            failpoints.reached("record.before")
            if failpoints.is_set("record.torn"):
                data = data[self._write(data[: len(data) // 2]) :]
                failpoints.reached("record.torn")
            while data:
                data = data[self._write(data) :]
            failpoints.reached("record.after")
        except OSError as error:
            self._unwritten = bytes(data)
            raise RecordError(f"the record cannot be written: {error.strerror}") from None
        self._unwritten = b""
        self._require_record(is_last=bool(batch) and isinstance(batch[-1], RunFinished))

    def _write(self, data: memoryview) -> int:
        count = os.write(self._file, data)
        self._size += count
        return count

    def _require_record(self, *, is_last: bool) -> None:
        """Raise RecordRemoved if a reader would not find all that was written: it is lost."""
        try:
            found = self._state.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            raise RecordRemoved(self._explain("removed")) from None
        except OSError:
            # That the directory cannot be read now proves nothing.
            return
        if self._has_identity and (found.st_dev, found.st_ino) != self._identity:
            raise RecordRemoved(self._explain("replaced"))
        if found.st_size != self._size:
            # What was added may have joined a line of ours, or pass for one.
            what = "shortened" if found.st_size < self._size else "written to by another process"
            raise RecordRemoved(f"the record of this run was {what}: {self._name}")
        # On the way there, a link would lead to it, which no reader follows.
        if is_last and (problem := self._misplaced()):
            raise RecordRemoved(problem)

    def _explain(self, what: str) -> str:
        """Why the record is not found: `what` has happened to it, or its directory is somewhere else."""
        problem = ""
        with contextlib.suppress(OSError):
            found = self._folder.stat(EVENTS)
            if (found.st_dev, found.st_ino) == self._identity:
                problem = self._misplaced()
        return problem or f"the record of this run was {what}: {self._name}"

    def _misplaced(self) -> str:
        for folder in self._ways:
            if problem := folder.misplaced():
                return f"the directory of this run was {problem}: {folder.path}"
        return ""

    def close_last_line(self) -> None:
        """End a line that was torn when its writer was killed, so that the next event gets its own."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._write(memoryview(b"\n"))

    def close(self) -> None:
        """Close the record and give up the lock on it."""
        lock.close_record(self._file)

"""A copy of the record: each event as one line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.record.line_format import encode_line
from mprun.reporters.terminal import outlet_of, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from mprun.record.events import Event
    from mprun.record.run_state import RunState
    from mprun.record.state_files import StateFile


class JsonLines:
    """Writes events to a stream as they are recorded; an error ends the copy, not the run.

    `name` is the file's, for the warning. If the stream has an outlet, and its reader does not take an
    event at once, what follows is read from the `record` when it does.
    """

    interval: float | None = None

    def __init__(self, stream: TextIO, name: str, warn: Callable[[str], None], record: StateFile) -> None:
        self._stream = stream
        self._outlet = outlet_of(stream)
        self._name = name
        self._warn = warn
        self._record = record
        self._broken = False
        # The bytes of the record: how many were written to the stream, and how many are to be.
        self._written = self._end = 0
        self._follows_record = False

    def handle(self, event: Event, state: RunState) -> None:
        if self._broken:
            return
        line = encode_line(event)
        self._end += len(line.encode("utf-8", "backslashreplace"))
        if self._outlet is not None and self._outlet.is_behind:
            if not self._follows_record:
                self._follows_record = True
                self._outlet.show(self._steps())
            return
        self._written = self._end
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._end_copy(error)

    def _steps(self) -> Iterator[None]:
        """Write what is recorded and not written, a line at a step."""
        try:
            with open(self._record.open(), "rb") as record:
                record.seek(self._written)
                while self._written < self._end:
                    line = record.readline()
                    if not line:
                        raise ValueError("the record was truncated")
                    self._stream.write(line.decode())
                    self._stream.flush()
                    self._written += len(line)
                    yield
            self._follows_record = False
        except (OSError, ValueError) as error:
            self._end_copy(error)

    def _end_copy(self, error: OSError | ValueError) -> None:
        self._broken = True
        silence(self._stream)
        if not isinstance(error, BrokenPipeError):
            why = getattr(error, "strerror", error)
            self._warn(f"cannot write --events {self._name}: {why}; the run continues")

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass

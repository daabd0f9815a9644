"""A copy of the record: each event as one line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.record import line

if TYPE_CHECKING:
    from typing import TextIO

    from mprun.events import Event
    from mprun.state import RunState


class JsonLines:
    """Writes events to a stream as they are recorded."""

    interval: float | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def handle(self, event: Event, state: RunState) -> None:
        self._stream.write(line(event))
        self._stream.flush()

    def tick(self) -> None:
        pass

    def close(self) -> None:
        self._stream.flush()

"""A copy of the record: each event as one line of JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.record.line_format import encode_line
from mprun.reporters.terminal import silence

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from mprun.record.events import Event
    from mprun.record.run_state import RunState


class JsonLines:
    """Writes events to a stream as they are recorded; an error ends the copy, not the run.

    `name` is the file's, for the warning.
    """

    interval: float | None = None

    def __init__(self, stream: TextIO, name: str, warn: Callable[[str], None]) -> None:
        self._stream = stream
        self._name = name
        self._warn = warn
        self._broken = False

    def handle(self, event: Event, state: RunState) -> None:
        if self._broken:
            return
        try:
            self._stream.write(encode_line(event))
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._broken = True
            silence(self._stream)
            if not isinstance(error, BrokenPipeError):
                why = getattr(error, "strerror", error)
                self._warn(f"cannot write --events {self._name}: {why}; the run continues")

    def tick(self) -> None:
        pass

    def close(self) -> None:
        pass

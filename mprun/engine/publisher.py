"""What the engine has to tell: written down first, and only then shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.errors import RecordError
from mprun.record.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.record.events import Event
    from mprun.record.recorder import Recorder
    from mprun.reporters.base import Reporter


class Publisher:
    """Takes the events of a run; `state` is what those that are recorded come to.

    `failure` says why the record could not be written, empty as long as it could. What is
    not recorded is shown to nobody: it is tried again with whatever comes next.
    """

    def __init__(self, recorder: Recorder, reporters: Sequence[Reporter]) -> None:
        self._recorder = recorder
        self._reporters = reporters
        self._batch: list[Event] = []
        self._unrecorded: list[Event] = []
        self.state = RunState()
        self.failure = ""

    def add(self, *events: Event) -> None:
        """More events, for the next `publish`."""
        self._batch += events

    def publish(self) -> bool:
        """Record what has happened, with one write, and show it; whether that could be."""
        batch, self._batch = self._batch, []
        if not batch and not self._unrecorded:
            return True
        self._unrecorded += batch
        try:
            self._recorder.append(batch)
        except RecordError as error:
            self.failure = self.failure or str(error)
            return False
        recorded, self._unrecorded = self._unrecorded, []
        for event in recorded:
            self.state.apply(event)
            for reporter in self._reporters:
                reporter.handle(event, self.state)
        return True

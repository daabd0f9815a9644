"""Publishes the events of a run: to the record first, and only then to the reporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun import failpoints
from mprun.errors import RecordError, RecordRemoved
from mprun.record.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.clock import Clock
    from mprun.record.events import Event
    from mprun.record.recorder import Recorder
    from mprun.reporters.base import Reporter


class Publisher:
    """Collects the events of a run; `state` is what the shown ones add up to.

    `failure` says why the record could not be written, empty if it could. An event that could
    not be recorded is not shown; the next `publish` tries to record it again. Once it is known that
    the record was removed, all events are shown: nothing else will have them. A reporter that
    raises an exception gets nothing more; `defect` is the first exception of one of them, or of the state.
    """

    def __init__(self, recorder: Recorder, reporters: Sequence[Reporter], clock: Clock) -> None:
        self._recorder = recorder
        self._reporters = list(reporters)
        # Those among them that are `mprun.reporters.base.LogReader`.
        self._log_readers: list[Any] = [one for one in reporters if hasattr(one, "lost_output")]
        self._clock = clock
        self._batch: list[Event] = []
        self._unrecorded: list[Event] = []
        self.state = RunState()
        self.failure = ""
        self.defect: Exception | None = None
        intervals = [reporter.interval for reporter in reporters if reporter.interval is not None]
        # Seconds until `tick` is due again, None if no reporter needs it.
        self.tick_interval = min(intervals, default=None)
        self._ticked = clock.now()

    def add(self, *events: Event) -> None:
        """Add events for the next `publish`."""
        self._batch += events

    def publish(self) -> bool:
        """Record the events, with one write, and show them; false if that waits for the next call."""
        batch, self._batch = self._batch, []
        if not batch and not self._unrecorded:
            return True
        self._unrecorded += batch
        try:
            self._recorder.append(batch)
        except RecordError as error:
            if not (isinstance(error, RecordRemoved) and self.failure):
                self.failure = self.failure or str(error)
                return False
        recorded, self._unrecorded = self._unrecorded, []
        for event in recorded:
            try:
                self.state.apply(event)
            except Exception as error:
                self.defect = self.defect or error
            for reporter in self._reporters:
                try:
                    if failpoints.armed:
                        failpoints.reached("reporter.handle")
                    reporter.handle(event, self.state)
                except Exception as error:
                    self._drop(reporter, error)
        return True

    def tick(self) -> None:
        """Let the reporters update what they show, if it is time."""
        if self.tick_interval is None or self._clock.now() - self._ticked < self.tick_interval:
            return
        self._ticked = self._clock.now()
        for reporter in self._reporters:
            try:
                failpoints.reached("reporter.tick")
                reporter.tick()
            except Exception as error:
                self._drop(reporter, error)

    def lost_output(self, task: str) -> int:
        """How many bytes of the log of a task's present attempt the reporters have seen being lost."""
        most = 0
        for reporter in self._log_readers:
            try:
                most = max(most, reporter.lost_output(task))
            except Exception as error:
                self._drop(reporter, error)
        return most

    def _drop(self, reporter: Reporter, error: Exception) -> None:
        # Another list: the present one is being iterated.
        self._reporters = [one for one in self._reporters if one is not reporter]
        self._log_readers = [one for one in self._log_readers if one is not reporter]
        self.defect = self.defect or error

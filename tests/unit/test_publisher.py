"""The publisher: the record first, and then the reporters."""

from __future__ import annotations

from mprun.clock import Clock
from mprun.engine.publisher import Publisher
from mprun.errors import RecordError
from mprun.record.events import TaskReady


def ready(attempt):
    return TaskReady(time="2026-01-01T12:00:00.000000Z", run="r", task="a", attempt=attempt)


class Log:
    """A recorder, a reporter and a clock at once, which write down their calls."""

    def __init__(self, interval=None):
        self.calls = []
        self.full = False
        self.interval = interval
        self.time = 0.0

    def append(self, events):
        self.calls.append(("append", len(events)))
        if self.full:
            raise RecordError("disk full")

    def handle(self, event, state):
        self.calls.append(("handle", event.attempt))

    def tick(self):
        self.calls.append("tick")

    def now(self):
        return self.time


def test_events_are_recorded_at_once_and_then_shown():
    log = Log()
    publisher = Publisher(log, [log], Clock())
    publisher.add(ready(1), ready(2))
    assert publisher.publish()
    assert log.calls == [("append", 2), ("handle", 1), ("handle", 2)]
    assert publisher.publish()
    assert len(log.calls) == 3, "there was nothing more to record"


def test_event_that_is_not_recorded_is_shown_once_it_is():
    log = Log()
    publisher = Publisher(log, [log], Clock())
    log.full = True
    publisher.add(ready(1))
    assert not publisher.publish()
    assert publisher.failure == "disk full"
    assert log.calls == [("append", 1)]
    log.full = False
    publisher.add(ready(2))
    assert publisher.publish()
    assert log.calls[1:] == [("append", 1), ("handle", 1), ("handle", 2)]
    assert publisher.failure == "disk full", "the first failure is kept"


def test_reporters_tick_at_the_shortest_interval():
    log = Log(interval=0.5)
    publisher = Publisher(log, [log, Log(interval=2.0), Log()], log)
    assert publisher.tick_interval == 0.5
    publisher.tick()
    assert log.calls == []
    log.time = 0.5
    publisher.tick()
    publisher.tick()
    assert log.calls == ["tick"]


def test_no_reporter_ticks_without_an_interval():
    log = Log()
    publisher = Publisher(log, [log], log)
    log.time = 1000.0
    publisher.tick()
    assert (publisher.tick_interval, log.calls) == (None, [])

"""The attempts of a run on its slots: a fold over its events, for files that a trace viewer opens."""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from mprun.record.events import TaskJoined, TaskReady, TaskRetrying, TaskStopping
from mprun.record.run_state import RunState
from mprun.record.task_details import TaskDetails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import Event, TaskExited, TaskFinished, TaskStarted


class Attempt:
    """One attempt of a task; times are in microseconds since the epoch.

    `lane` is its slot, from 1, or that of a service; no two attempts overlap in one. `end` is that of the
    attempt, or the time of the last event if the record has none. `marks` are the events between.
    """

    __slots__ = ("begin", "end", "exited", "finished", "host", "lane", "marks", "started", "task")

    def __init__(self, task: str, started: TaskStarted, begin: int, lane: int) -> None:
        self.task = task
        self.started = started
        self.host = started.host
        self.begin = self.end = begin
        self.lane = lane
        self.exited: TaskExited | None = None
        self.finished: TaskFinished | None = None
        self.marks: list[tuple[int, Event]] = []


class _Lanes:
    """Gives each attempt the first lane that is free."""

    def __init__(self) -> None:
        self.count = 0
        # The lanes that are free, as a heap, each with the time since when.
        self._free: list[tuple[int, int]] = []

    def take(self, time: int) -> int:
        later = []
        found = 0
        while self._free and not found:
            lane, since = heappop(self._free)
            if since <= time:
                found = lane
            else:
                later.append((lane, since))
        for one in later:
            heappush(self._free, one)
        if not found:
            self.count += 1
        return found or self.count

    def release(self, lane: int, time: int) -> None:
        heappush(self._free, (lane, time))


class Timeline:
    """Collects a run event by event, as `mprun.record.reader.read_state` reads it.

    `attempts` are in the order of their starts, `joins` the joins with their times, `unstarted` the tasks
    that ended without an attempt. `begin` and `end` are those of the run.
    """

    def __init__(self) -> None:
        self.state = RunState()
        self.details = TaskDetails()
        self.attempts: list[Attempt] = []
        self.of_task: dict[str, list[Attempt]] = {}
        self.joins: list[tuple[int, TaskJoined]] = []
        self.unstarted: list[tuple[int, TaskFinished]] = []
        self.begin = self.end = 0
        self._lanes: dict[tuple[str, bool], _Lanes] = {}

    def add(self, event: Event) -> None:
        """Take the next event of the record."""
        time = microseconds(event.time)
        if time is None:
            # Damage: it could be drawn nowhere.
            return
        self.begin = self.begin or time
        self.end = max(self.end, time)
        self.details.add(event)
        match event.event:
            case "run_started":
                self.state.started = event  # type: ignore[assignment]
            case "run_finished":
                self.state.finished = event  # type: ignore[assignment]
            case "task_started":
                self._start(event, time)  # type: ignore[arg-type]
            case "task_exited":
                self._exit(event, time)  # type: ignore[arg-type]
            case "task_finished":
                self._finish(event, time)  # type: ignore[arg-type]
            case _:
                self._mark(event, time)

    def close(self) -> None:
        """There are no more events: what has no end in the record ends with it."""
        for attempt in self.attempts:
            if attempt.exited is None:
                attempt.end = max(attempt.begin, self.end)

    def slots(self, host: str, *, services: bool) -> int:
        """How many lanes a host has, for tasks or for services."""
        lanes = self._lanes.get((host, services))
        return lanes.count if lanes else 0

    def hosts(self) -> list[str]:
        """The hosts of the run, its own first."""
        first = [self.state.started.host] if self.state.started else []
        return list(dict.fromkeys((*first, *(attempt.host for attempt in self.attempts)))) or ["unknown"]

    def dependencies(self, attempt: Attempt) -> Iterator[Attempt]:
        """The attempts whose ends an attempt waited for: of several with one condition, the last one."""
        if self.of_task[attempt.task][0] is not attempt:
            return
        number = self.details.numbers.get(attempt.task)
        for numbers, _ in self.details.needs(number) if number is not None else ():
            names = (self.details.names[need] for need in numbers)
            ended = [self.of_task[name][-1] for name in names if name in self.of_task]
            before = [one for one in ended if one.end <= attempt.begin]
            if before:
                yield max(before, key=lambda one: one.end)

    def _start(self, event: TaskStarted, time: int) -> None:
        lanes = self._lanes.setdefault((event.host, event.daemon), _Lanes())
        attempt = Attempt(event.task, event, time, lanes.take(time))
        self.attempts.append(attempt)
        self.of_task.setdefault(event.task, []).append(attempt)

    def _exit(self, event: TaskExited, time: int) -> None:
        attempt = self._attempt(event.task, event.attempt)
        if attempt is not None and attempt.exited is None:
            attempt.exited = event
            attempt.end = max(attempt.begin, time)
            self._lanes[attempt.host, attempt.started.daemon].release(attempt.lane, attempt.end)

    def _finish(self, event: TaskFinished, time: int) -> None:
        if event.task in self.of_task:
            self.of_task[event.task][-1].finished = event
        else:
            self.unstarted.append((time, event))

    def _mark(self, event: Event, time: int) -> None:
        if isinstance(event, TaskJoined):
            self.joins.append((time, event))
        elif isinstance(event, (TaskReady, TaskStopping, TaskRetrying)):
            number = event.attempt - isinstance(event, TaskRetrying)
            attempt = self._attempt(event.task, number)
            if attempt is not None:
                attempt.marks.append((time, event))

    def _attempt(self, task: str, number: int) -> Attempt | None:
        found = self.of_task.get(task, ())
        return next((one for one in reversed(found) if one.started.attempt == number), None)


def microseconds(time: str) -> int | None:
    """A time of an event in microseconds since the epoch; None if it is damaged."""
    try:
        found = datetime.fromisoformat(time)
        if found.tzinfo is None:
            return None
        since = found - _EPOCH
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

"""The attempts of a run on its slots: a fold over its events, for files that a trace viewer opens."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from heapq import heappop, heappush
from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.lean_json import decode, encode_compactly
from mprun.record.events import HostChanged, TaskJoined, TaskReady, TaskRetrying, TaskStopping
from mprun.record.found import END_TIME, ENDED, MAX_RSS, START, STARTED
from mprun.record.run_state import RunState
from mprun.record.task_details import TaskDetails
from mprun.record.task_lines import host_of_start, time_of_line
from mprun.record.task_state import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import Event, TaskExited, TaskFinished, TaskStarted
    from mprun.record.found import Found


class Attempt:
    """One attempt of a task; times are in microseconds since the epoch.

    `lane` is its slot, from 1, or that of a service; no two attempts overlap in one. `end` is that of the
    attempt, or the time of the last event if the record has none. `marks` are the events between. `kept` is
    what a reader has found of a task that just succeeded so far, instead of the events.
    """

    __slots__ = ("_events", "begin", "end", "host", "kept", "lane", "marks", "number", "task")

    def __init__(self, task: str, host: str, number: int, begin: int, lane: int) -> None:
        self.task = task
        self.host = host
        self.number = number
        self.begin = self.end = begin
        self.lane = lane
        self.kept: TaskState | None = None
        self.marks: list[tuple[int, Event]] | tuple[()] = ()
        self._events: tuple[Any, Any, Any] = (None, None, None)

    @property
    def plain(self) -> TaskState | None:
        """What was found of a task that just succeeded; None if there is more to say of it."""
        return self.kept if self.kept is not None and self.kept.end and not self.marks else None

    @property
    def started(self) -> TaskStarted:
        """Its start."""
        return self._all()[0]  # type: ignore[no-any-return]

    @property
    def exited(self) -> TaskExited | None:
        """The end of its process."""
        return self._all()[1]  # type: ignore[no-any-return]

    @property
    def finished(self) -> TaskFinished | None:
        """The end of its task, if it was the last attempt."""
        return self._all()[2]  # type: ignore[no-any-return]

    @property
    def max_rss(self) -> int:
        """The most memory that it had, in bytes; 0 if that is unknown."""
        if self.kept is not None and self.kept.end:
            return decode(self.kept.end[MAX_RSS]) or 0
        return (self.exited.max_rss or 0) if self.exited else 0

    def set_events(self, *events: Event | None) -> None:
        """Set its start, the end of its process and the end of its task; None leaves what there is."""
        self._events = tuple(new or old for new, old in zip(events, self._all(), strict=True))  # type: ignore[assignment]
        self.kept = None

    def _all(self) -> tuple[Any, Any, Any]:
        if self.kept is None:
            return self._events
        (one,) = self.kept.attempts
        return one.started, one.exited, self.kept.finished


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

    `attempts` are in the order of their starts, `joins` the joins: time, task, and its
    other fields as JSON, with a comma in front. `unstarted` are the tasks that ended without an attempt.
    `host_changes` are those of the hosts, each with its time.
    `begin` and `end` are those of the run.
    """

    def __init__(self) -> None:
        self.state = RunState()
        self.details = TaskDetails()
        self.attempts: list[Attempt] = []
        self.of_task: dict[str, list[Attempt]] = {}
        self.joins: list[tuple[int, str, str]] = []
        self.unstarted: list[tuple[int, TaskFinished]] = []
        self.host_changes: list[tuple[int, HostChanged]] = []
        self.begin = self.end = 0
        self._lanes: dict[tuple[str, bool], _Lanes] = {}

    def add(self, event: Event) -> None:
        """Take the next event of the record."""
        time = self._at(event.time)
        if time is None:
            return
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

    def add_start(self, found: Found) -> None:
        """Take what was found with the start of a task that just succeeds so far."""
        line, name = found[START], found[STARTED]
        time = self._at(time_of_line(line))
        if time is not None:
            attempt = self._begin(name, intern(host_of_start(line)), 1, time, is_service=False)
            attempt.kept = TaskState(name, found)

    def add_end(self, found: Found) -> bool:
        """Take what was found with its exit and its end; False if it has more to it: add the events."""
        time = self._at(found[END_TIME])
        if time is None:
            return True
        attempts = self.of_task.get(found[ENDED], ())
        if len(attempts) != 1 or attempts[0].kept is None or attempts[0].kept.end:
            return False
        attempt = attempts[0]
        attempt.kept.end = found  # type: ignore[union-attr]
        attempt.end = max(attempt.begin, time)
        self._lanes[attempt.host, False].release(attempt.lane, attempt.end)
        return True

    def add_join(self, time: str, task: str, facts: str) -> None:
        """Take a join, whose fields after the name of the task are `facts`, with a comma in front."""
        at = self._at(time)
        if at is not None:
            self.joins.append((at, task, facts))

    def close(self) -> None:
        """There are no more events: what has no end in the record ends with it."""
        for attempt in self.attempts:
            if (attempt.kept is None or not attempt.kept.end) and attempt.exited is None:
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

    def _at(self, time: str) -> int | None:
        """The time of an event in microseconds; None if it is damaged: it could be drawn nowhere."""
        at = _last_time(time)
        if at is not None:
            self.begin = self.begin or at
            if at > self.end:
                self.end = at
        return at

    def _begin(self, task: str, host: str, number: int, time: int, *, is_service: bool) -> Attempt:
        lanes = self._lanes.get((host, is_service))
        if lanes is None:
            lanes = self._lanes[host, is_service] = _Lanes()
        attempt = Attempt(task, host, number, time, lanes.take(time))
        self.attempts.append(attempt)
        # Not `setdefault`: a list that has grown by its first item has room for three more.
        if task in self.of_task:
            self.of_task[task].append(attempt)
        else:
            self.of_task[task] = [attempt]
        return attempt

    def _start(self, event: TaskStarted, time: int) -> None:
        attempt = self._begin(event.task, event.host, event.attempt, time, is_service=event.daemon)
        attempt.set_events(event, None, None)

    def _exit(self, event: TaskExited, time: int) -> None:
        attempt = self._attempt(event.task, event.attempt)
        if attempt is not None and attempt.exited is None:
            attempt.set_events(None, event, None)
            attempt.end = max(attempt.begin, time)
            self._lanes[attempt.host, attempt.started.daemon].release(attempt.lane, attempt.end)

    def _finish(self, event: TaskFinished, time: int) -> None:
        if event.task in self.of_task:
            self.of_task[event.task][-1].set_events(None, None, event)
        else:
            self.unstarted.append((time, event))

    def _mark(self, event: Event, time: int) -> None:
        if isinstance(event, TaskJoined):
            position, of = encode_compactly(event.position), encode_compactly(event.of)
            self.joins.append((time, event.task, f',"position":{position},"of":{of}'))
        elif isinstance(event, HostChanged):
            self.host_changes.append((time, event))
        elif isinstance(event, (TaskReady, TaskStopping, TaskRetrying)):
            number = event.attempt - isinstance(event, TaskRetrying)
            attempt = self._attempt(event.task, number)
            if attempt is not None:
                # Most attempts have none. A damaged record may have any number.
                attempt.marks = attempt.marks or []
                attempt.marks.append((time, event))

    def _attempt(self, task: str, number: int) -> Attempt | None:
        found = self.of_task.get(task, ())
        return next((one for one in reversed(found) if one.number == number), None)


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


# An exit, an end and a join have the same time.
_last_time = lru_cache(maxsize=1)(microseconds)

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

"""What the live view shows of a run: a fold over its events that keeps only what is running and numbers."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from mprun.outcomes import BAD
from mprun.record.copies import is_repeated, without_copy
from mprun.record.events import (
    TaskExited,
    TaskFinished,
    TaskReady,
    TaskRetrying,
    TasksPlanned,
    TaskStarted,
    TaskStopping,
)
from mprun.record.hosts import several_hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.record.events import Event
    from mprun.record.run_state import RunState

# From this many tasks on, they are counted by group.
MANY_TASKS = 200
# How many running tasks have a row of their own.
MAX_TASKS = 8


class RunningTask:
    """One running attempt that has a row: `began` is a reading of the view's clock, in seconds.

    `cpu` is in percent of a core, `memory` in bytes, None if unknown; `line` is the last line that it
    has printed, `host` where it runs.
    """

    __slots__ = ("attempt", "began", "cpu", "host", "line", "memory", "name", "pid", "start_ticks")

    def __init__(self, event: TaskStarted, began: float) -> None:
        self.name = event.task
        self.attempt = event.attempt
        self.pid = event.pid
        self.host = event.host
        self.start_ticks = event.start_ticks
        self.began = began
        self.cpu: float | None = None
        self.memory: int | None = None
        self.line = ""


class ViewState:
    """A run so far. It may begin in the middle of a run, with the state that the events add up to.

    `began` says when the process of an attempt began, by the clock of the view. `lists` are
    the tasks that results will expand.
    """

    def __init__(
        self, run: RunState, began: Callable[[TaskStarted], float], lists: Sequence[str] = ()
    ) -> None:
        self._began = began
        self._lists = list(lists)
        self.total = self.ended = self.failed = 0
        # The attempts that are running, in the order of their start, and the tasks that will be tried again.
        self.running: dict[str, TaskStarted] = {}
        self.retrying: set[str] = set()
        # Those of the running attempts that were told to stop.
        self.stopping: set[str] = set()
        # The tasks that wait for tokens, by the name of these.
        self.waiting: dict[str, list[str]] = {}
        # The daemons, each with what it is doing.
        self.services: dict[str, str] = {}
        # By the name before the brackets, or before the number of a copy: how many instances have ended and
        # not failed, how many have failed, and how many there are.
        self.groups: dict[str, list[int]] = {}
        # How long the run will still take, in seconds, None if unknown.
        self.left: float | None = None
        # The rows of the highest frame so far.
        self.least_rows = 0
        # Those of the running attempts that have a row; most tasks of a large run end before they have one.
        self._rows: dict[str, RunningTask] = {}
        self._run = run
        self._is_repeated = is_repeated(run.started)
        # Nothing else is of interest, and each event of a run comes here.
        self._appliers: dict[type[Event], Callable[..., None]] = {
            TaskStarted: self._start,
            TaskExited: self._exit,
            TaskFinished: self._finish,
            TaskReady: self._ready,
            TaskStopping: self._stopping,
            TaskRetrying: self._retry,
            TasksPlanned: self._count_planned,
        }
        self._begin()

    @property
    def hosts(self) -> dict[str, int]:
        """How many tasks are running on each host, if the run is on several; services do not count."""
        running = dict.fromkeys(several_hosts(self._run.started), 0)
        for event in self.running.values() if running else ():
            running[event.host] = running.get(event.host, 0) + 1
        return running

    @property
    def is_complete(self) -> bool:
        """Whether no result will add tasks to those that are known."""
        return not self._run.may_expand(self._lists)

    @property
    def done(self) -> int:
        """How many tasks have ended and not failed."""
        return self.ended - self.failed

    def apply(self, event: Event) -> None:
        """Take one more event."""
        applier = self._appliers.get(type(event))
        if applier is not None:
            applier(event)

    def longest_running(self) -> list[RunningTask]:
        """The attempts that have run for longest, the first one first; at most MAX_TASKS."""
        # They are in the order of their start.
        rows = {}
        for name, event in islice(self.running.items(), MAX_TASKS):
            row = self._rows.get(name)
            if row is None or row.attempt != event.attempt:
                row = RunningTask(event, self._began(event))
            rows[name] = row
        self._rows = rows
        return list(rows.values())

    def _begin(self) -> None:
        for name, task in self._run.tasks.items():
            if task.outcome is not None:
                self.ended += 1
                self.failed += task.has_failed
            elif task.attempts:
                self._resume(name)
        self._count_planned()

    def _resume(self, name: str) -> None:
        """Take what has happened to a task that has begun."""
        attempt = self._run.tasks[name].attempts[-1]
        for event in (attempt.started, attempt.ready, attempt.stopping, attempt.exited, attempt.retrying):
            if event is not None:
                self.apply(event)

    def _count_planned(self, _event: TasksPlanned | None = None) -> None:
        names = self._run.known_names()
        self.total = len(names)
        self.groups.clear()
        if self.total < MANY_TASKS:
            return
        for name in names:
            count = self.groups.setdefault(self._group(name), [0, 0, 0])
            count[2] += 1
            task = self._run.tasks.get(name)
            if task is not None and task.outcome is not None:
                count[task.has_failed] += 1

    def _group(self, name: str) -> str:
        return (without_copy(name) if self._is_repeated else name).partition("[")[0]

    def _start(self, event: TaskStarted) -> None:
        if self.retrying:
            self.retrying.discard(event.task)
        if event.daemon:
            self.services[event.task] = "started"
        else:
            self.running[event.task] = event

    def _ready(self, event: TaskReady) -> None:
        if event.task in self.services:
            self.services[event.task] = "ready"

    def _stopping(self, event: TaskStopping) -> None:
        if event.task in self.services:
            self.services[event.task] = "stopping"
        elif event.task in self.running:
            self.stopping.add(event.task)

    def _exit(self, event: TaskExited) -> None:
        self.running.pop(event.task, None)
        if self.stopping:
            self.stopping.discard(event.task)
        if event.task in self.services:
            self.services[event.task] = "ended"

    def _retry(self, event: TaskRetrying) -> None:
        if event.task in self.services:
            self.services[event.task] = "restarting"
        else:
            self.retrying.add(event.task)

    def _finish(self, event: TaskFinished) -> None:
        name = event.task
        self.running.pop(name, None)
        self.retrying.discard(name)
        self.stopping.discard(name)
        self.services.pop(name, None)
        has_failed = event.outcome in BAD and not event.allowed
        self.ended += 1
        self.failed += has_failed
        if self.groups:
            count = self.groups.get(self._group(name))
            if count is not None:
                count[has_failed] += 1

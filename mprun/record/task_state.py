"""The state of a task: its attempts and its outcome, by its events or by the lines of a record."""

from __future__ import annotations

import marshal
from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.outcomes import BAD
from mprun.record.events import (
    Event,
    TaskExited,
    TaskFinished,
    TaskJoined,
    TaskReady,
    TaskRetrying,
    TaskStarted,
    TaskStopping,
)
from mprun.scheduling.retry import RETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.record.found import Found


class AttemptState:
    """One attempt of a task so far: the event of each kind, None if there was none.

    `stopping` is the last signal that was sent; after `retrying`, another attempt follows.
    """

    __slots__ = ("exited", "ready", "retrying", "started", "stopping")

    def __init__(self, started: TaskStarted) -> None:
        self.started = started
        self.ready: TaskReady | None = None
        self.stopping: TaskStopping | None = None
        self.exited: TaskExited | None = None
        self.retrying: TaskRetrying | None = None


class TaskState:
    """One task so far; `finished` is None until it has its outcome.

    From then on its events are packed, and unpacked on demand. So a finished task takes a third
    of a kilobyte instead of more than one (`benchmarks/engine_cost.py`), and the garbage collector
    has nothing to traverse. A reader of a large record keeps the task's lines instead, and they
    are parsed on demand.
    """

    __slots__ = ("_attempts", "_finished", "_packed", "end", "lines", "name", "outcome", "start")

    def __init__(self, name: str, start: Found = ()) -> None:
        self.name = name
        # The same as in `finished`, without unpacking.
        self.outcome: str | None = None
        self._attempts: list[AttemptState] = _NO_ATTEMPTS if start else []
        self._finished: TaskFinished | None = None
        self._packed: bytes | None = None
        # Instead of all of the above: what a reader has found with the start and with the end of a task that
        # has just succeeded so far, or the lines of a task, each with its line feed (`task_lines.py`).
        self.start: Found = start
        self.end: Found = ()
        self.lines = ""

    @property
    def attempts(self) -> Sequence[AttemptState]:
        """Its attempts, in order."""
        if self.start or self.lines:
            return _parsed(self)._attempts
        return self._attempts if self._packed is None else _unpacked(self._packed)[0]

    @property
    def finished(self) -> TaskFinished | None:
        """The event with its outcome."""
        if self.start or self.lines:
            return _parsed(self)._finished
        return self._finished if self._packed is None else _unpacked(self._packed)[1]

    @property
    def is_running(self) -> bool:
        """Whether an attempt has started and not exited."""
        return self.outcome is None and bool(self.attempts) and self.attempts[-1].exited is None

    @property
    def was_retried(self) -> bool:
        """Whether an attempt failed and was retried; a restart of a daemon does not count."""
        return any(one.retrying is not None and one.retrying.reason == RETRY for one in self.attempts)

    @property
    def has_failed(self) -> bool:
        """Whether its outcome counts as a failure: it is not allowed."""
        return self.outcome in BAD and not (self.finished and self.finished.allowed)

    def begin_lines(self) -> bool:
        """Have its lines kept; False if it has events already."""
        if self._attempts or self._packed is not None or self._finished is not None:
            return False
        self._attempts = _NO_ATTEMPTS
        return True

    def add_attempt(self, started: TaskStarted) -> None:
        """Add an attempt that has started."""
        self._unpack()
        self._attempts.append(AttemptState(started))

    def attempt(self, number: int) -> AttemptState | None:
        """The attempt with this number, to be changed; None if it never started."""
        self._unpack()
        for one in reversed(self._attempts):
            if one.started.attempt == number:
                return one
        return None

    def finish(self, event: TaskFinished) -> None:
        """Set its outcome."""
        self._unpack()
        self.outcome = intern(event.outcome)
        self._finished = event

    def pack(self) -> None:
        """Pack its events, after the last of them."""
        global _last_unpacked
        attempts, finished = self._attempts, self._finished
        if finished is None:
            return
        try:
            self._packed = _pack_events(attempts, finished)
        except ValueError:
            # The result is nested too deep: another program wrote the record.
            return
        _last_unpacked = self._packed, attempts, finished
        self._attempts, self._finished = _NO_ATTEMPTS, None

    def _unpack(self) -> None:
        """Make it changeable: it has not finished, or its record continues after its end."""
        if self.start or self.lines:
            parsed = parse_lines(self)
            self._attempts, self._finished = parsed._attempts, parsed._finished
            self.start = self.end = ()
            self.lines = ""
        if self._packed is not None:
            self._attempts, self._finished = _unpack_events(self._packed)
            self._packed = None


# The attempts of packed tasks; never changed.
_NO_ATTEMPTS: list[AttemptState] = []


def _pack_events(attempts: Sequence[AttemptState], finished: TaskFinished) -> bytes:
    facts = [
        [
            fact and fact.to_tuple()
            for fact in (one.started, one.ready, one.stopping, one.exited, one.retrying)
        ]
        for one in attempts
    ]
    return marshal.dumps((facts, finished.to_tuple()))


def _unpack_events(packed: bytes) -> tuple[list[AttemptState], TaskFinished]:
    attempts, finished = marshal.loads(packed)  # noqa: S302  our own
    return [_attempt(*facts) for facts in attempts], TaskFinished.from_tuple(finished)


def _attempt(started: Any, ready: Any, stopping: Any, exited: Any, retrying: Any) -> AttemptState:
    attempt = AttemptState(TaskStarted.from_tuple(started))
    attempt.ready = ready and TaskReady.from_tuple(ready)
    attempt.stopping = stopping and TaskStopping.from_tuple(stopping)
    attempt.exited = exited and TaskExited.from_tuple(exited)
    attempt.retrying = retrying and TaskRetrying.from_tuple(retrying)
    return attempt


def parse_lines(task: TaskState) -> TaskState:
    """The state of a task by its lines: `task_lines.py`, which has them kept, replaces this."""
    raise NotImplementedError


# A view asks for several facts about one task, and then for the next one: the last task that was parsed, what
# was kept of it, and what it was parsed to. It does not change what it gets.
_last_parsed: tuple[TaskState | None, object, TaskState | None] = (None, None, None)


def _parsed(task: TaskState) -> TaskState:
    global _last_parsed
    last, kept, found = _last_parsed
    now = task.start, task.end, task.lines
    if last is not task or kept != now or found is None:
        found = parse_lines(task)
        _last_parsed = task, now, found
    return found


# What was packed or unpacked last, which no one changes. A view asks for several facts about one task, and
# then for the next one; a reporter asks for those of the task that has just ended.
_last_unpacked: tuple[bytes, list[AttemptState], TaskFinished | None] = (b"", [], None)


def _unpacked(packed: bytes) -> tuple[list[AttemptState], TaskFinished | None]:
    global _last_unpacked
    if _last_unpacked[0] is not packed:
        _last_unpacked = (packed, *_unpack_events(packed))
    return _last_unpacked[1:]


# ---- what each kind of event changes


def _set_ready(task: TaskState, event: TaskReady) -> None:
    if attempt := task.attempt(event.attempt):
        attempt.ready = event


def _set_stopping(task: TaskState, event: TaskStopping) -> None:
    if attempt := task.attempt(event.attempt):
        attempt.stopping = event


def _set_exited(task: TaskState, event: TaskExited) -> None:
    if attempt := task.attempt(event.attempt):
        attempt.exited = event


def _set_retrying(task: TaskState, event: TaskRetrying) -> None:
    # It names the attempt that follows.
    if attempt := task.attempt(event.attempt - 1):
        attempt.retrying = event


def _ignore(task: TaskState, event: TaskJoined) -> None:
    """It changes nothing of the task."""


# What an event changes of its task. A table: `isinstance` takes a tenth of a microsecond, seven times for
# the last kind.
APPLIERS: dict[type[Event], Callable[[TaskState, Any], None]] = {
    TaskStarted: TaskState.add_attempt,
    TaskReady: _set_ready,
    TaskStopping: _set_stopping,
    TaskExited: _set_exited,
    TaskRetrying: _set_retrying,
    TaskFinished: TaskState.finish,
    TaskJoined: _ignore,
}

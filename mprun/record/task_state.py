"""The state of a task: its attempts and its outcome, by its events or by the lines of a record."""

from __future__ import annotations

import marshal
from functools import lru_cache
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

    __slots__ = ("_attempts", "_finished", "_packed", "lines", "name", "outcome", "run")

    def __init__(self, name: str) -> None:
        self.name = name
        # The same as in `finished`, without unpacking.
        self.outcome: str | None = None
        self._attempts: list[AttemptState] = []
        self._finished: TaskFinished | None = None
        self._packed: bytes | None = None
        # The kind, time and facts of each event, each with a line feed after it, instead of all of the above,
        # and the id of the run (`task_lines.py`).
        self.lines = ""
        self.run = ""

    @property
    def attempts(self) -> Sequence[AttemptState]:
        """Its attempts, in order."""
        if self.lines:
            return _parsed(self)._attempts
        return self._attempts if self._packed is None else _unpacked(self._packed)[0]

    @property
    def finished(self) -> TaskFinished | None:
        """The event with its outcome."""
        if self.lines:
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

    def begin_lines(self, run: str) -> bool:
        """Have its lines kept, of the run with this id; False if it has events already."""
        if self._attempts or self._packed is not None or self._finished is not None:
            return False
        self.run, self._attempts = run, _NO_ATTEMPTS
        return True

    def add_attempt(self, started: TaskStarted) -> None:
        """Add an attempt that has started."""
        self._unpack()
        self._attempts.append(AttemptState(started))

    def attempt(self, number: int) -> AttemptState | None:
        """The attempt with this number, to be changed; None if it never started."""
        self._unpack()
        return next((one for one in reversed(self._attempts) if one.started.attempt == number), None)

    def finish(self, event: TaskFinished) -> None:
        """Set its outcome."""
        self._unpack()
        self.outcome = intern(event.outcome)
        self._finished = event

    def pack(self) -> None:
        """Pack its events, after the last of them."""
        finished = self._finished
        try:
            self._packed = _pack_events(self._attempts, finished) if finished else None
        except ValueError:
            # The result is nested too deep: another program wrote the record.
            return
        self._attempts, self._finished = _NO_ATTEMPTS, None

    def _unpack(self) -> None:
        """Make it changeable: it has not finished, or its record continues after its end."""
        if self.lines:
            parsed = parse_lines(self.run, self.name, self.lines)
            self._attempts, self._finished, self.lines = parsed._attempts, parsed._finished, ""
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


def parse_lines(run: str, name: str, lines: str) -> TaskState:
    """The state of a task by its lines: `task_lines.py`, which has them kept, replaces this."""
    raise NotImplementedError


def _parsed(task: TaskState) -> TaskState:
    return _last_parsed(task.run, task.name, task.lines)


# A view asks for several facts about one task, and then for the next one. It does not change what it gets.
_last_parsed = lru_cache(maxsize=1)(lambda *lines: parse_lines(*lines))


# A view asks for several facts about one task, and then for the next task.
_unpacked = lru_cache(maxsize=1)(_unpack_events)


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

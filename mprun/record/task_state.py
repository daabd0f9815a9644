"""The state of a task: its attempts and its outcome, by its events or by the lines of a record."""

from __future__ import annotations

import marshal
from functools import lru_cache
from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.lean_json import decode
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
    from_record,
)
from mprun.scheduling.retry import RETRY

if TYPE_CHECKING:
    import re
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

    __slots__ = ("_attempts", "_finished", "_lines", "_packed", "_run", "name", "outcome")

    def __init__(self, name: str) -> None:
        self.name = name
        # The same as in `finished`, without unpacking.
        self.outcome: str | None = None
        self._attempts: list[AttemptState] = []
        self._finished: TaskFinished | None = None
        self._packed: bytes | None = None
        # The kind, time and facts of each event, each with a line feed after it; instead of all of the above.
        self._lines = ""
        self._run = ""

    @property
    def attempts(self) -> Sequence[AttemptState]:
        """Its attempts, in order."""
        if self._lines:
            return _parsed(self._run, self.name, self._lines)._attempts
        return self._attempts if self._packed is None else _unpacked(self._packed)[0]

    @property
    def finished(self) -> TaskFinished | None:
        """The event with its outcome."""
        if self._lines:
            return _parsed(self._run, self.name, self._lines)._finished
        return self._finished if self._packed is None else _unpacked(self._packed)[1]

    @property
    def is_running(self) -> bool:
        """Whether an attempt has started and not exited."""
        return self.outcome is None and bool(self.attempts) and self.attempts[-1].exited is None

    @property
    def was_retried(self) -> bool:
        """Whether an attempt failed and was retried; a restart of a daemon does not count."""
        return any(one.retrying is not None and one.retrying.reason == RETRY for one in self.attempts)

    def plain_success(self) -> re.Match[str] | None:
        """What `success_matcher` finds of it; None if it did not just succeed, or its lines were not kept.

        For views of many tasks: there is more to a task for which this is None.
        """
        if not self._lines or self.outcome != "succeeded":
            return None
        global _match_success
        if _match_success is None:
            # No run needs regular expressions for it.
            from mprun.record.line_scanner import success_matcher

            _match_success = success_matcher()
        return _match_success(self._lines)

    @property
    def has_no_result(self) -> bool:
        """Whether it is known, without parsing, that the result of its finished task is None."""
        tail = self._lines[self._lines.rfind(_RESULT_KIND) :]
        # A result may have such a key, too, with a brace after it.
        return tail.startswith(_NO_RESULT) and "}" not in tail and tail.index("\n") == len(tail) - 1

    def add_line(self, run: str, kind: str, time: str, facts: str, end: str) -> bool:
        """Add the events of a line that `line_finder` recognised; False if that is not possible: apply them.

        `run` is the id of the run.
        """
        lines = self._lines
        if not lines:
            if self._attempts or self._packed is not None or self._finished is not None:
                return False
            self._run, self._attempts = run, _NO_ATTEMPTS
        elif len(lines) > _MAX_LINES_LENGTH:
            return False
        if end:
            self._lines = f"{lines}{kind}\n{time}\n{facts}\nfinished\n{time}\n{end}\n"
        else:
            self._lines = f"{lines}{kind}\n{time}\n{facts}\n"
            end = facts if kind == "finished" else ""
        if end:
            # `,"outcome":"succeeded","attempts": ...`
            self.outcome = intern(end[12 : end.index('"', 12)])
        return True

    @property
    def has_failed(self) -> bool:
        """Whether its outcome counts as a failure: it is not allowed."""
        return self.outcome in BAD and not (self.finished and self.finished.allowed)

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

    def to_json(self) -> dict[str, Any]:
        """The task as one JSON object, for `--json`."""
        attempts, finished = self.attempts, self.finished
        return {
            "task": self.name,
            "outcome": finished.outcome if finished else None,
            "reason": finished.reason if finished else None,
            "result": finished.result if finished else None,
            "result_kind": finished.result_kind if finished else None,
            "reused": finished.reused if finished else None,
            "flaky": finished.flaky if finished else None,
            "attempts": [
                {name: fact and fact.to_record() for name, fact in _facts(attempt).items()}
                for attempt in attempts
            ],
        }

    def _unpack(self) -> None:
        """Make it changeable: it has not finished, or its record continues after its end."""
        if self._lines:
            parsed = _parse_lines(self._run, self.name, self._lines)
            self._attempts, self._finished, self._lines = parsed._attempts, parsed._finished, ""
        if self._packed is not None:
            self._attempts, self._finished = _unpack_events(self._packed)
            self._packed = None


_match_success: Callable[[str], re.Match[str] | None] | None = None
# Near the end of the line of a task that has finished. Quotes in texts have a backslash before them.
_RESULT_KIND = ',"result_kind":'
_NO_RESULT = f'{_RESULT_KIND}"none"'
# Characters of the lines that are kept of a task. A daemon that restarts all the time has more, and
# to add to a long text takes as long as to copy it.
_MAX_LINES_LENGTH = 8192
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


# A view asks for several facts about one task, and then for the next task.
_unpacked = lru_cache(maxsize=1)(_unpack_events)


def _parse_lines(run: str, name: str, lines: str) -> TaskState:
    """The state of a task by the lines that are kept of it, with its events."""
    task = TaskState(name)
    parts = lines.split("\n")
    for kind, time, facts in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        event = event_of_line(run, kind, time, name, facts)
        APPLIERS[type(event)](task, event)
    return task


_parsed = lru_cache(maxsize=1)(_parse_lines)


def event_of_line(run: str, kind: str, time: str, name: str, facts: str) -> Any:
    """The event of a line that `line_finder` recognised."""
    record = decode(f"{{{facts[1:]}}}")
    return from_record({"event": f"task_{kind}", "time": time, "run": run, "task": name, **record})


def _facts(attempt: AttemptState) -> dict[str, Event | None]:
    return {
        "started": attempt.started,
        "ready": attempt.ready,
        "stopping": attempt.stopping,
        "exited": attempt.exited,
        "retrying": attempt.retrying,
    }


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

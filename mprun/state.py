"""What a run has come to: the fold over its events that everything shown is read from."""

from __future__ import annotations

from typing import Any

from mprun.events import (
    Event,
    RunFinished,
    RunStarted,
    TaskExited,
    TaskFinished,
    TaskJoined,
    TaskReady,
    TaskRetrying,
    TaskStarted,
    TaskStopping,
)


class AttemptState:
    """One attempt of a task so far.

    `stopping` is the last signal and its reason, `retrying` says that another attempt follows.
    """

    __slots__ = ("exited", "ready", "retrying", "started", "stopping")

    def __init__(self, started: TaskStarted) -> None:
        self.started = started
        self.ready: TaskReady | None = None
        self.stopping: TaskStopping | None = None
        self.exited: TaskExited | None = None
        self.retrying: TaskRetrying | None = None


class TaskState:
    """One task so far; `finished` is None until it has its outcome."""

    __slots__ = ("attempts", "finished", "joined", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempts: list[AttemptState] = []
        self.finished: TaskFinished | None = None
        self.joined: TaskJoined | None = None

    @property
    def running(self) -> bool:
        """Whether an attempt has started and not ended."""
        return bool(self.attempts) and self.attempts[-1].exited is None and self.finished is None


class RunState:
    """A run so far, by its events in their order; tasks in the order of their first one.

    `time` is that of the last event.
    """

    def __init__(self) -> None:
        self.time = ""
        self.started: RunStarted | None = None
        self.finished: RunFinished | None = None
        self.tasks: dict[str, TaskState] = {}

    def task(self, name: str) -> TaskState:
        """The state of a task, a new one where nothing was heard of it."""
        if name not in self.tasks:
            self.tasks[name] = TaskState(name)
        return self.tasks[name]

    def apply(self, event: Event) -> None:
        """Take one more event; one that fits nothing before it changes nothing."""
        self.time = event.time
        if isinstance(event, TaskStarted):
            self.task(event.task).attempts.append(AttemptState(event))
        elif isinstance(event, (TaskExited, TaskReady, TaskStopping)):
            self._apply_to_attempt(event)
        elif isinstance(event, TaskRetrying):
            # It names the attempt that follows.
            if before := self._attempt(event.task, event.attempt - 1):
                before.retrying = event
        elif isinstance(event, TaskFinished):
            self.task(event.task).finished = event
        elif isinstance(event, TaskJoined):
            self.task(event.task).joined = event
        elif isinstance(event, RunStarted):
            self.started = event
        elif isinstance(event, RunFinished):
            self.finished = event

    def _apply_to_attempt(self, event: TaskExited | TaskReady | TaskStopping) -> None:
        attempt = self._attempt(event.task, event.attempt)
        if attempt is None:
            return
        if isinstance(event, TaskExited):
            attempt.exited = event
        elif isinstance(event, TaskReady):
            attempt.ready = event
        else:
            attempt.stopping = event

    def _attempt(self, task: str, number: int) -> AttemptState | None:
        attempts = reversed(self.task(task).attempts)
        return next((attempt for attempt in attempts if attempt.started.attempt == number), None)

    def running_daemons(self) -> list[str]:
        """The names of the daemons that run now, in the order of their start."""
        return [
            task.name for task in self.tasks.values() if task.running and task.attempts[-1].started.daemon
        ]

    def counts(self) -> dict[str, int]:
        """How many tasks have each outcome; outcomes that none has are left out."""
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            if task.finished is not None:
                counts[task.finished.outcome] = counts.get(task.finished.outcome, 0) + 1
        return counts

    def to_json(self) -> dict[str, Any]:
        """The run as one JSON object, for `--json`."""
        return {
            "run": self.started.to_record() if self.started else None,
            "tasks": [_task_to_json(task) for task in self.tasks.values()],
            "finished": self.finished.to_record() if self.finished else None,
        }


def _task_to_json(task: TaskState) -> dict[str, Any]:
    return {
        "task": task.name,
        "outcome": task.finished.outcome if task.finished else None,
        "reason": task.finished.reason if task.finished else None,
        "result": task.finished.result if task.finished else None,
        "result_kind": task.finished.result_kind if task.finished else None,
        "attempts": [
            {name: fact and fact.to_record() for name, fact in _facts(attempt).items()}
            for attempt in task.attempts
        ],
    }


def _facts(attempt: AttemptState) -> dict[str, Event | None]:
    return {
        "started": attempt.started,
        "ready": attempt.ready,
        "stopping": attempt.stopping,
        "exited": attempt.exited,
        "retrying": attempt.retrying,
    }

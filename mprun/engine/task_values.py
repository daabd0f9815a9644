"""Compiles the constructors of the values that a run makes for each of its many tasks."""

from __future__ import annotations

from mprun.engine.resolver import Call
from mprun.executors.base import Exited, Started, StartRequest
from mprun.record import events
from mprun.scheduling.instructions import Finish, Join, Start
from mprun.scheduling.retry import AttemptResult

_OF_EACH_TASK = (
    *(Start, Started, Exited, AttemptResult, Finish, Join, StartRequest, Call),
    *(events.TaskStarted, events.TaskExited, events.TaskFinished, events.TaskJoined),
)


def compile_inits() -> None:
    """Compile the constructors of these values."""
    for kind in _OF_EACH_TASK:
        kind.compile_init()

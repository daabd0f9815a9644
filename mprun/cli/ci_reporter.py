"""Reports a run to a CI service."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

from mprun.cli.messages import warn
from mprun.cli.recorded_plan import read_plan
from mprun.reporters.ci import SERVICES
from mprun.reporters.door import Door, put_door

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun import api
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.reporters.base import Reporter


def ci_reporter(service: str) -> Callable[[api.Context], Reporter]:
    """What makes the reporter for a CI service, one of `CI_SERVICES`; nothing else can command it then."""
    guard_streams(service)
    return lambda context: SERVICES[service](context.directory, context.plan, warn)


def tell_service(service: str, directory: RunDirectory, state: RunState) -> None:
    """Tell a CI service, one of `CI_SERVICES`, about a run that has ended."""
    if state.finished is not None:
        SERVICES[service](directory, read_plan(state), warn).handle(state.finished, state)


def guard_streams(service: str) -> None:
    """Neutralise the commands of a CI service in stdout and stderr, whatever the environment says."""
    sys.stdout, sys.stderr = _guarded(sys.stdout, service), _guarded(sys.stderr, service)


def _guarded(stream: IO[str], service: str) -> IO[str]:
    buffer: Any = getattr(stream, "buffer", None)
    if buffer is None or hasattr(buffer, "add_service"):
        if buffer is not None:
            buffer.add_service(service)
        return stream
    door = put_door(stream, service)
    if isinstance(door, Door):
        door.is_json = getattr(stream, "is_json", False)
        door.buffer.is_json = door.is_json  # type: ignore[attr-defined]  # the guard
    return door

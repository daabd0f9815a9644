"""Has a CI service read the output of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.cli.messages import warn
from mprun.reporters.ci import SERVICES
from mprun.reporters.door import guard_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun import api
    from mprun.reporters.base import Reporter


def ci_reporter(service: str) -> Callable[[api.Context], Reporter]:
    """What makes the reporter for a CI service, one of `CI_SERVICES`; nothing else can command it then."""
    guard_streams(service)
    return lambda context: SERVICES[service](context.directory, context.plan, warn)

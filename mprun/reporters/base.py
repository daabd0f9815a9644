"""The interface of a reporter, through which the engine passes on the events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from mprun.record.events import Event
    from mprun.record.run_state import RunState


class Display(Protocol):
    """What reporters have written and no one has read yet; the loop of the engine passes it on."""

    def waiting(self) -> list[int]:
        """The descriptors that have to be writable before `pump` can go on."""

    def pump(self, writable: Collection[int] = ()) -> None:
        """Write what the readers take, a limited amount; `writable` are descriptors of `waiting` that are."""


class Reporter(Protocol):
    """Gets the events of a run as they are recorded."""

    # Seconds between two calls of `tick` while tasks are running; None for no calls.
    interval: float | None

    def handle(self, event: Event, state: RunState) -> None:
        """Take an event; `state` is the state of the run after it."""

    def tick(self) -> None:
        """Called every `interval` seconds."""

    def close(self) -> None:
        """Called once, at the end of the run, or if the run fails to start."""

"""What the engine asks of a reporter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mprun.record.events import Event
    from mprun.record.run_state import RunState


class Reporter(Protocol):
    """Reads the events of a run as they are recorded."""

    # Seconds between two calls of `tick` while tasks run; None where it needs none.
    interval: float | None

    def handle(self, event: Event, state: RunState) -> None:
        """One event; `state` is the run with this event in it."""

    def tick(self) -> None:
        """Some time has passed."""

    def close(self) -> None:
        """The run is over, or will not be."""

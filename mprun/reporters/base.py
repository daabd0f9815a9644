"""The interface of a reporter, through which the engine passes on the events of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mprun.record.events import Event
    from mprun.record.run_state import RunState
    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.plan import Plan


class Display(Protocol):
    """What reporters have written and no one has read yet; the loop of the engine passes it on."""

    def waiting(self) -> list[int]:
        """The descriptors that have to be writable before `pump` can go on."""

    def pump(self, writable: Collection[int] = ()) -> None:
        """Write what the readers take, a limited amount; `writable` are descriptors of `waiting` that are."""


class Signals(Protocol):
    """The signals of a run, as far as what is shown depends on them."""

    # How often SIGUSR1 has asked what the tasks are doing, and SIGCONT has resumed this process.
    inquiries: int
    resumptions: int
    # Called before this process is suspended, so that the terminal is left as the shell needs it.
    before_suspend: Callable[[], object] | None


class Stacks(Protocol):
    """The stacks that a process was asked for."""

    def read(self) -> str | None:
        """The stacks, as text; None if they may not be complete. To be called until it returns a text."""


class RunSources(Protocol):
    """What the views can ask the engine for, beside the events."""

    @property
    def plan(self) -> Plan:
        """The plan of the run."""

    @property
    def signals(self) -> Signals:
        """The signals of the run."""

    def timings(self) -> list[RunTimings] | None:
        """How long the tasks of the job took in earlier runs; None until a call has read the rest."""

    def request_stacks(self, pid: int, start_ticks: int | None) -> Stacks | None:
        """Ask a task's process for the stacks of its threads; None if it cannot give them."""


class LogReader(Protocol):
    """A reporter that reads the logs of running tasks."""

    def lost_output(self, task: str) -> int:
        """How many bytes of the log of its present attempt a task has lost, by truncating it."""


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

"""The lineage of a run, one line an event: who ran, whose child it was, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import Outcome, format_exit
from mprun.record.events import (
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
from mprun.reporters.format import format_duration, format_reason, format_size, format_time

if TYPE_CHECKING:
    from mprun.record.run_state import RunState


class Lineage:
    """Turns events into lines, of which one needs to know what came before: `over`."""

    def __init__(self) -> None:
        self._over = False

    def lines(self, event: Event, state: RunState) -> list[str]:
        """The lines of one event, in local time; none for an event that says nothing new."""
        return [f"{format_time(event.time)[11:]} {visible(text)}" for text in self._texts(event, state)]

    def _texts(self, event: Event, state: RunState) -> list[str]:
        if isinstance(event, RunStarted):
            return [f"main   {event.main_name} pid={event.main_pid} ppid={event.pid} (mprun)"]
        if isinstance(event, TaskStarted):
            return [_started(event, state)]
        if isinstance(event, TaskExited):
            return [_exited(event)]
        if isinstance(event, TaskReady):
            return [f"ready  {event.task}  attempt={event.attempt}"]
        if isinstance(event, TaskRetrying):
            again = f"again  {event.task}  attempt={event.attempt} in {format_duration(event.delay)}"
            return [again + (" (restart)" if event.reason == "restart" else "")]
        if isinstance(event, TaskJoined):
            return [f"join   {event.task}  {event.position} of {event.of}"]
        if isinstance(event, TaskFinished) and event.outcome in (Outcome.SKIPPED, Outcome.CANCELLED):
            return [f"{_VERBS[event.outcome]} {event.task}  {format_reason(event.reason)}"]
        if isinstance(event, TaskFinished) and event.outcome == Outcome.UNKNOWN:
            return [f"lost   {event.task}  {event.reason}"]
        if isinstance(event, TaskStopping):
            return [
                *self._main_ends(event, state),
                f"stop   {event.task}  {event.signal} ({format_reason(event.reason)})",
            ]
        if isinstance(event, RunFinished) and not self._over:
            return ["over   main process ends"]
        return []

    def _main_ends(self, event: TaskStopping, state: RunState) -> list[str]:
        if self._over or event.reason != "run_finished":
            return []
        self._over = True
        return [f"over   main process ends; stopping daemons: {', '.join(state.running_daemons())}"]


_VERBS: dict[str, str] = {Outcome.SKIPPED: "skip  ", Outcome.CANCELLED: "cancel"}


def _started(event: TaskStarted, state: RunState) -> str:
    main = state.started.main_pid if state.started else None
    parent = "main" if event.ppid == main else "fork server"
    daemon = " daemon" if event.daemon else ""
    return (
        f"start  {event.task}  pid={event.pid} ppid={event.ppid} ({parent}) "
        f"attempt={event.attempt} target={event.target}{daemon}"
    )


def _exited(event: TaskExited) -> str:
    words = format_exit(event.exit_code, event.signal, event.core_dumped)
    orphans = f" orphans killed: {', '.join(map(str, event.orphans))}" if event.orphans else ""
    return (
        f"exit   {event.task}  pid={event.pid} {words} after {format_duration(event.duration)} "
        f"cpu={format_duration(event.cpu)} rss={format_size(event.max_rss)}{orphans}"
    )

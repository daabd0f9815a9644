"""The lineage of a run, one line per event: each process, its parent, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import Outcome, format_exit, format_reason
from mprun.record.events import (
    Event,
    HostChanged,
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
from mprun.reporters.format import format_duration, format_size, format_time
from mprun.reporters.process_names import named_pids
from mprun.reporters.table import with_item
from mprun.scheduling.retry import RETRY

if TYPE_CHECKING:
    from mprun.record.run_state import RunState


class Lineage:
    """Turns events into lines; remembers the latest time, and whether the main process has ended."""

    def __init__(self) -> None:
        self._main_ended = False
        self._latest = ""

    def lines(self, event: Event, state: RunState) -> list[str]:
        """The lines of one event, in local time; none for an event that adds nothing.

        No line has an earlier time than the one above it: a report of the launcher may arrive a few
        milliseconds after what the engine has decided in the meantime. The record has the exact time.
        """
        # All are UTC in one form, in which the order of texts is that of times.
        self._latest = max(self._latest, event.time)
        return [f"{format_time(self._latest)[11:]} {visible(text)}" for text in self._texts(event, state)]

    def _texts(self, event: Event, state: RunState) -> list[str]:
        if isinstance(event, RunStarted):
            if event.hosts:
                return [f"main   main process pid={one['main_pid']} on {one['host']}" for one in event.hosts]
            return [f"main   main process pid={event.main_pid} ppid={event.pid} (mprun)"]
        if isinstance(event, TaskStarted):
            return [_started(event, state)]
        if isinstance(event, TaskExited):
            return [_exited(event)]
        if isinstance(event, TaskReady):
            return [f"ready  {event.task}  attempt={event.attempt}"]
        if isinstance(event, TaskRetrying):
            retry = f"retry  {event.task}  attempt={event.attempt} in {format_duration(event.delay)}"
            return [retry + ("" if event.reason == RETRY else f" ({format_reason(event.reason)})")]
        if isinstance(event, TaskJoined):
            return [f"join   {event.task}  {event.position} of {event.of}"]
        if isinstance(event, TaskFinished) and event.outcome in _VERBS:
            return [f"{_VERBS[event.outcome]:<6} {event.task}  {format_reason(event.reason)}"]
        if isinstance(event, HostChanged):
            about = f"  {event.reason}" if event.reason else f"  main process pid={event.main_pid}"
            return [f"host   {event.host} {format_reason(event.change)}{about}"]
        if isinstance(event, TaskStopping):
            return [
                *self._stopping_daemons(event, state),
                f"stop   {event.task}  {event.signal} ({format_reason(event.reason)})",
            ]
        if isinstance(event, RunFinished) and not self._main_ended:
            return ["end    main process ends"]
        return []

    def _stopping_daemons(self, event: TaskStopping, state: RunState) -> list[str]:
        if self._main_ended or event.reason != "run_finished":
            return []
        self._main_ended = True
        # Each one after those that depend on it.
        daemons = ", ".join(reversed(state.running_daemons()))
        return [f"end    main process ends; stopping daemons: {daemons}"]


# The outcomes of tasks that no other event reports.
_VERBS: dict[str, str] = {Outcome.SKIPPED: "skip", Outcome.CANCELLED: "cancel", Outcome.UNKNOWN: "unknown"}


def _started(event: TaskStarted, state: RunState) -> str:
    run = state.started
    hosts = run.hosts if run else None
    if hosts:
        mains = [one["main_pid"] for one in hosts if one["host"] == event.host]
        parent = f"{'main' if event.ppid in mains else 'fork server'} on {event.host}"
    else:
        parent = "main" if run and event.ppid == run.main_pid else "fork server"
    daemon = " daemon" if event.daemon else ""
    name = with_item(event.task, state.items.get(event.task))
    return (
        f"start  {name}  pid={event.pid} ppid={event.ppid} ({parent}) "
        f"attempt={event.attempt} target={event.target}{daemon}"
    )


def _exited(event: TaskExited) -> str:
    words = format_exit(event.exit_code, event.signal, event.core_dumped)
    names = event.process_names
    orphans = f" orphans killed: {', '.join(named_pids(event.orphans, names))}" if event.orphans else ""
    if event.left_running:
        orphans += f" left running: {', '.join(named_pids(event.left_running, names))}"
    if event.lost_output:
        orphans += f" log truncated: at least {format_size(event.lost_output)} lost"
    return (
        f"exit   {event.task}  pid={event.pid} {words} after {format_duration(event.duration)} "
        f"cpu={format_duration(event.cpu)} rss={format_size(event.max_rss)}{orphans}"
    )

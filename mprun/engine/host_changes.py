"""What follows if a host of a run joins, leaves, or answers too late: slots, a warning, and an event.

The changes and their facts: `joined` (`worker`, `main_pid`, `slots` and `boot_id`), `refused` (a worker that
cannot be used; `reason`), `lost` (`worker` and `reason`), and `late_answer` (`key` and `exit_code` of an
attempt that was given up).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.executors.base import ExecutorLost, HostChange, SlotsChange
from mprun.outcomes import format_exit
from mprun.record.events import HostChanged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.clock import Clock
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Report
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.scheduler import Scheduler

# What is warned of, by the change.
_WARNINGS = {
    "lost": "host {host} was lost: {reason}",
    "refused": "host {host} is not used: {reason}",
    "late_answer": "ignored a late answer of host {host}: {reason}",
}


def early_warning(report: Report) -> str:
    """The warning of a change before the run begins, when there are no attempts; "" if there is none."""
    if isinstance(report, HostChange) and report.change in _WARNINGS:
        return _warning(report, str(report.facts.get("reason", "")))
    return ""


def _warning(change: HostChange, reason: str) -> str:
    return visible(_WARNINGS[change.change].format(host=change.host, reason=reason))


def as_of_start(report: Report, begun: float) -> Report:
    """A report that came before the run began, at that reading of the clock: nothing was sent by then."""
    if isinstance(report, ExecutorLost):
        return report.replace(unseen=False)
    if isinstance(report, HostChange | SlotsChange):
        return report.replace(clock=max(report.clock, begun))
    return report


class HostChanges:
    """Handles the reports about hosts, and makes their events; of `early` ones it was warned already."""

    def __init__(
        self,
        scheduler: Scheduler,
        table: TaskTable,
        clock: Clock,
        warn: Callable[[str], None],
        run: str,
        early: Sequence[Report] = (),
    ) -> None:
        self._early = early
        self._scheduler = scheduler
        self._table = table
        self._clock = clock
        self._warn = warn
        self._run = run

    def register(
        self, handlers: dict[type, Callable[[Any], Any]], builders: dict[type, Callable[[Any], Any]]
    ) -> None:
        """Add itself to the handlers of reports, and to the builders of events."""
        handlers[HostChange] = self._handle
        handlers[SlotsChange] = self._handle_slots
        builders[HostChange] = self._event

    def _handle(self, change: HostChange) -> list[Instruction]:
        if change.change in _WARNINGS and change not in self._early:
            self._warn(_warning(change, self._reason(change)))
        return []

    def _handle_slots(self, change: SlotsChange) -> list[Instruction]:
        if change.reason:
            self._warn(change.reason)
        return self._scheduler.handle_slots(change.more, self._clock.timed(change.clock))

    def _event(self, change: HostChange) -> HostChanged:
        facts, task, attempt = change.facts, None, None
        if "key" in facts:
            number, attempt = facts["key"]
            task = self._table.tasks[number].name
        return HostChanged(
            time=self._clock.iso(change.clock),
            run=self._run,
            host=change.host,
            change=change.change,
            worker=facts.get("worker", ""),
            reason=self._reason(change),
            main_pid=facts.get("main_pid"),
            slots=facts.get("slots"),
            boot_id=facts.get("boot_id"),
            task=task,
            attempt=attempt,
        )

    def _reason(self, change: HostChange) -> str:
        if change.change != "late_answer":
            return str(change.facts.get("reason", ""))
        number, attempt = change.facts["key"]
        name, ended = self._table.tasks[number].name, format_exit(change.facts["exit_code"], None)
        return f"attempt {attempt} of {name}, which was given up, ended with {ended}"

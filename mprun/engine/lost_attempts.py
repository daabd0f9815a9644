"""What becomes of attempts whose end no one saw: those of a lost host, or of an executor that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.record.begun_logs import find_begun_logs
from mprun.record.state_dir import log_name

if TYPE_CHECKING:
    from mprun.engine.task_table import TaskTable
    from mprun.executors.base import Exited, NotStarted
    from mprun.record.state_dir import RunDirectory
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.scheduler import Scheduler


def unreported(scheduler: Scheduler, table: TaskTable, directory: RunDirectory, *, unseen: bool) -> set[int]:
    """The tasks whose attempt has begun though no report says so, or if `unseen`, may have begun."""
    begun = frozenset() if unseen else find_begun_logs(directory.logs)
    return {
        number
        for number, attempt in scheduler.unstarted()
        if unseen or log_name(table.tasks[number].name, attempt) in begun
    }


def lose_with_host(
    scheduler: Scheduler, report: Exited | NotStarted, reason: str, now: float
) -> list[Instruction]:
    """An attempt was lost with its host, and may have begun; another one follows if nothing of it is left."""
    if report.left_running:
        reason += f"; left running, could not be killed: {', '.join(map(str, report.left_running))}"
    return scheduler.handle_host_lost(report.key[0], reason, now, is_over=not report.left_running)

"""The plan of a past run: its job file, read again if it has not changed since."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from mprun import api
from mprun.cli.job import read_recorded_job
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record.relocate import relocated
from mprun.record.resume import file_changes
from mprun.reporters.task_places import present_directory

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# The plan of a shard is that of all tasks: it may have divided them by durations that are not known any more.
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused", "partition"}


# A job file of more tasks takes too long to read again, only to know their lines.
_MAX_TASKS = 10_000


def read_plan(state: RunState) -> Plan | None:
    """The plan of a run; None if it cannot be had any more, or takes too long.

    The record does not have it. Nothing is imported or started.
    """
    if state.started is None:
        return None
    started = relocated(state.started, present_directory(state))
    if started.file == STANDARD_INPUT_PATH:
        return None
    if max(len(state.tasks), started.tasks) > _MAX_TASKS:
        return None
    if not started.files or not all(_is_file(one) for one in started.files):
        return None
    changes = file_changes(started)
    if changes.changed or changes.gone:
        return None
    try:
        job = read_recorded_job(started.file, started.params, ())
        options = {name: value for name, value in started.options.items() if name in _PLANNING}
        return api.plan_job(job, **options)
    except Exception:
        # A hostile record has any options, and what is shown does without the plan.
        return None


def _is_file(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("path", "sha256"))

"""The plan of a past run: its job file, read again if it has not changed since."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from mprun import api
from mprun.cli.job import read_recorded_job
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record.resume import file_changes

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# The plan of a shard is that of all tasks: it may have divided them by durations that are not known any more.
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused", "partition"}


def read_plan(state: RunState, max_tasks: int) -> tuple[Plan | None, str]:
    """The plan of a run of at most so many tasks; else None, and why it is unknown.

    The record does not have it. Nothing is imported or started.
    """
    started = state.started
    if started is None:
        return None, "the record has lost its beginning"
    if started.file == STANDARD_INPUT_PATH:
        return None, "the job came from standard input"
    if max(len(state.tasks), started.tasks) > max_tasks:
        return None, f"the run has more than {max_tasks:,} tasks"
    if not started.files or not all(_is_file(one) for one in started.files):
        return None, "the record has not the files of the job"
    changes = file_changes(state)
    if changes.changed or changes.gone:
        return None, "the job file has changed since, or is gone"
    try:
        job = read_recorded_job(started.file, started.params, ())
        options = {name: value for name, value in started.options.items() if name in _PLANNING}
        return api.plan_job(job, **options), ""
    except Exception:
        # A hostile record has any options, and what is shown does without the plan.
        return None, "the job file cannot be read again in this environment"


def _is_file(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("path", "sha256"))

"""The job of a past run, read again, and its plan if its files have not changed since."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mprun import api
from mprun.cli.job import read_job
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.param_inputs import UNRECORDED
from mprun.jobfile.resolution import HIDDEN
from mprun.record.relocate import relocated
from mprun.record.resume import file_changes
from mprun.reporters.task_places import present_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.jobfile.model import Job
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# The plan of a shard is that of all tasks: it may have divided them by durations that are not known any more.
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused", "partition"}


# A job file of more tasks takes too long to read again, only to know their lines.
_MAX_TASKS = 10_000


def read_recorded_job(path: str, params: Mapping[str, Any], options: Sequence[str]) -> Job:
    """The job that an earlier run ran, with the params that its record has and those of `options`.

    A secret is not recorded, so it has a value that is none unless it is given.
    """
    given = {option.partition("=")[0] for option in options}
    known = {
        name: UNRECORDED if value == HIDDEN else value for name, value in params.items() if name not in given
    }
    return read_job(path, known, options)


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

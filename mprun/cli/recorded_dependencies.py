"""What the tasks of a past run depended on: by its job file, if that has not changed since."""

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

# A job file of more tasks takes too long to read again, and more dependencies too much of the page.
MAX_TASKS, MAX_DEPENDENCIES = 10_000, 50_000
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused"}


def read_dependencies(state: RunState) -> tuple[dict[str, list[str]], str]:
    """By a task's name, the tasks that it depended on; else why they are unknown.

    The record does not have them. Nothing is imported or started.
    """
    started = state.started
    if started is None:
        return {}, "the record has lost its beginning"
    if started.file == STANDARD_INPUT_PATH:
        return {}, "the job came from standard input"
    if max(len(state.tasks), started.tasks) > MAX_TASKS:
        return {}, f"the run has more than {MAX_TASKS:,} tasks"
    if not started.files or not all(_is_file(one) for one in started.files):
        return {}, "the record has not the files of the job"
    changes = file_changes(state)
    if changes.changed or changes.gone:
        return {}, "the job file has changed since, or is gone"
    try:
        job = read_recorded_job(started.file, started.params, ())
        options = {name: value for name, value in started.options.items() if name in _PLANNING}
        found = _expanded(state, api.plan_job(job, **options))
    except Exception:
        # A hostile record has any options, and the page is there without a graph.
        return {}, "the job file cannot be read again in this environment"
    if sum(map(len, found.values())) > MAX_DEPENDENCIES:
        return {}, f"there are more than {MAX_DEPENDENCIES:,}"
    return found, ""


def _is_file(entry: object) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("path", "sha256"))


def _expanded(state: RunState, plan: Plan) -> dict[str, list[str]]:
    """The dependencies among the tasks that the run has had, where a task is replaced by its instances."""
    found = {}
    for planned in plan.tasks:
        needs = [name for need, _ in planned.needs for name in state.instances_of(plan.tasks[need].name)]
        for name in state.instances_of(planned.name):
            found[name] = needs
    return found

"""The command that resumes an earlier run."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

import click

from mprun import api
from mprun.cli.completion import complete_run
from mprun.cli.job import read_job
from mprun.cli.messages import warn, write
from mprun.cli.options import json_option, running_options
from mprun.cli.run import execute
from mprun.cli.show import read_run, read_run_in
from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.jobfile.resolution import HIDDEN
from mprun.record import reader
from mprun.record.resume import (
    changed_files,
    read_earlier_run,
    refuse_changes,
    with_unrecorded,
)
from mprun.record.state_dir import RunDirectory

# The options of the earlier run that say which tasks run, and how.
_PLANNING = inspect.signature(api.plan_job).parameters.keys() - {"job", "reused"}


@click.command()
@click.argument("run", required=False, shell_complete=complete_run)
@click.option(
    "-p",
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a param again: a secret, which is not recorded, or another value.",
)
@click.option(
    "--rerun-unknown",
    is_flag=True,
    help="Also run tasks whose exit status is unknown; they may have done their work.",
)
@click.option("--allow-changed", is_flag=True, help="Resume even if the job file has changed since that run.")
@json_option("Show the run at its end as one JSON object, like `mprun show --json`.")
@running_options
@click.pass_obj
def resume(
    launcher: tuple[int, int] | None,
    /,
    run: str | None,
    params: tuple[str, ...],
    rerun_unknown: bool,
    allow_changed: bool,
    as_json: bool,
    running: dict[str, Any],
) -> int:
    """Rerun the tasks of a run that did not succeed.

    RUN is the id of the run, or the beginning of it; by default the newest run. Its params
    and options are used again, and so are the results of the tasks that succeeded. Tasks
    that failed, timed out or were stopped, cancelled or skipped run again, and so do daemons.
    """
    if as_json:
        if running["events"] == "-":
            raise UsageError("`--json` and `--events -` both write to stdout; use one of them")
        running["output"] = "none"
    directory, state = read_run(running["state_dir"], run)
    if reader.is_active(directory, state):
        raise UsageError(
            f"run {directory.run_id} is still running; stop it with `mprun stop --run {directory.run_id}`"
        )
    earlier = read_earlier_run(directory, state, rerun_unknown=rerun_unknown)
    if state.finished is not None and state.finished.exit_code == 0:
        write(f"run {directory.run_id} succeeded; there is nothing to resume")
        if as_json:
            _print_run(directory)
        return 0
    changed = changed_files(state)
    if not allow_changed:
        refuse_changes(changed)
    for path in changed:
        warn(f"{quote(path)} has changed since run {directory.run_id}")
    given = {option.partition("=")[0] for option in params}
    known = {name: value for name, value in earlier.params.items() if name not in given and value != HIDDEN}
    options = {name: value for name, value in earlier.options.items() if name in _PLANNING}
    job = read_job(earlier.file, known, params)
    if not rerun_unknown:
        earlier = with_unrecorded(earlier, job)
    plan = api.plan_job(job, reused=earlier.reused, **options)
    result = execute(plan, launcher, options, running, resumes=earlier)
    if as_json and os.path.exists(result.directory):
        # A signal may have ended the run before it recorded anything.
        _print_run(RunDirectory(result.directory))
    return result.exit_code


def _print_run(directory: RunDirectory) -> None:
    from mprun.cli.views.run import show_json

    show_json(*read_run_in(directory), sys.stdout)

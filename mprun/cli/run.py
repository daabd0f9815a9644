"""The command that runs a job file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mprun.cli.execution import run_job_file
from mprun.cli.options import complete_job, only_of_run, planning_options, running_options, with_options

if TYPE_CHECKING:
    from typing import Any


@click.command()
@click.argument("job", type=click.Path(readable=False), shell_complete=complete_job)
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=complete_job)
@planning_options
@lambda command: with_options(command, *only_of_run())
@running_options
@click.pass_obj
def run(
    launcher: tuple[int, int] | None,
    /,
    job: str,
    tasks: tuple[str, ...],
    planning: dict[str, Any],
    dry_run: bool,
    as_json: bool,
    running: dict[str, Any],
) -> int:
    """Run a job file, or some of its tasks.

    JOB is a YAML file; `-` reads it from standard input. TASK is the name of a task, or a pattern
    of * and ?, as for -k: only these tasks run, and the tasks that they depend on.
    """
    return run_job_file(launcher, job, tasks, planning, running, dry_run=dry_run, as_json=as_json)

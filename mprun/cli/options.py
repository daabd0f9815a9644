"""The options that say what of a job is run, and how: of `run` and of `plan` alike."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from mprun import api
from mprun.cli.common_options import to_seconds
from mprun.cli.lean_imports import import_yaml_parser
from mprun.cli.messages import warn
from mprun.jobfile.job_checks import warnings
from mprun.jobfile.loader import load_job_file
from mprun.jobfile.model import START_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mprun.jobfile.model import Job
    from mprun.scheduling.plan import Plan


# What goes before the job file.
PLANNING = (
    click.option(
        "-p",
        "--param",
        "params",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a param; NAME=@FILE reads it from a file. MPRUN_PARAM_NAME sets it, too.",
    ),
    click.option(
        "-k",
        "--name",
        "names",
        multiple=True,
        envvar="MPRUN_NAME",
        metavar="GLOB",
        help="Run the tasks whose name matches (* and ?), and what they depend on.",
    ),
    click.option(
        "-t",
        "--tag",
        "tags",
        multiple=True,
        envvar="MPRUN_TAG",
        metavar="TAG",
        help="Run the tasks with this tag, and what they depend on.",
    ),
    click.option(
        "--deps/--no-deps",
        "with_dependencies",
        default=True,
        envvar="MPRUN_DEPS",
        help="With -k and -t: take along what the tasks depend on, as they do by default.",
    ),
    click.option(
        "-j",
        "--max-parallel",
        type=click.IntRange(min=1),
        envvar="MPRUN_MAX_PARALLEL",
        metavar="N",
        help="How many tasks run at once at most.",
    ),
    click.option(
        "-x",
        "--fail-fast",
        is_flag=True,
        default=None,
        envvar="MPRUN_FAIL_FAST",
        help="Stop the run at the first failure.",
    ),
    click.option(
        "--timeout",
        callback=to_seconds,
        envvar="MPRUN_TIMEOUT",
        metavar="DURATION",
        help="How long the whole run may take: seconds, or 1m30s.",
    ),
    click.option(
        "--start-method",
        type=click.Choice(START_METHODS),
        envvar="MPRUN_START_METHOD",
        help="How every task's process is started.",
    ),
)


def planning_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of PLANNING, as keyword arguments of `api.plan_job`."""
    for option in reversed(PLANNING):
        command = option(command)
    return command


def read_job(path: str, params: dict[str, Any], options: Sequence[str], *, lenient: bool = False) -> Job:
    """The job of a file, as `load_job_file` has it, with no more of PyYAML imported than that takes."""
    import_yaml_parser()
    return load_job_file(path, params, options, os.environ, lenient=lenient)


def planned(path: str, planning: dict[str, Any]) -> Plan:
    """The plan of a job file by the options of PLANNING."""
    options = dict(planning)
    job = read_job(path, {}, options.pop("params"))
    warn_of(job)
    return api.plan_job(job, **options)


def warn_of(job: Job) -> None:
    """Say what in a job is likely not meant; one of each kind is enough."""
    for text in islice(warnings(job), 1):
        warn(text)


def told(planning: dict[str, Any]) -> dict[str, Any]:
    """The options as the record has them: params have a place of their own, where secrets are hidden."""
    return {name: value for name, value in planning.items() if name != "params" and value not in (None, ())}

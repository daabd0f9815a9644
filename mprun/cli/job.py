"""The job that a command line asks for: read from its file, and planned by its options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun import api
from mprun.cli.lean_imports import import_yaml_parser
from mprun.cli.messages import warn
from mprun.errors import JobFileError
from mprun.jobfile.job_checks import daemons_alone, early_warnings
from mprun.jobfile.loader import load_job_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mprun.diagnostics import Diagnostic
    from mprun.jobfile.model import Job
    from mprun.jobfile.names import Named
    from mprun.scheduling.plan import Plan


def read_job(
    path: str,
    params: dict[str, Any],
    options: Sequence[str],
    *,
    lenient: bool = False,
    restrict: str | None = None,
) -> Job:
    """The job of a file, as from `load_job_file`; imports only the part of PyYAML that it needs."""
    import_yaml_parser()
    return load_job_file(path, params, options, os.environ, lenient=lenient, restrict=restrict)


def plan_job_file(path: str, planning: dict[str, Any], tasks: Sequence[str] = (), *, state_dir: str) -> Plan:
    """The plan of a job file, by the values of `planning_options`.

    `tasks` are names or patterns, each of which must match a task. They are added to the names in
    `planning`, so that the record has them. Raises NothingSelected. Below `state_dir` are the records
    that a partition by time needs.
    """
    try:
        job = read_job(path, {}, planning["params"])
    except JobFileError as error:
        # Few jobs lack a param.
        from mprun.cli.ask_params import job_with_answers

        job = job_with_answers(error, path, planning["params"])
    print_early_warnings(job)
    planning["names"] = (*planning["names"], *tasks)
    if (
        planning["repeat"]
        or planning["repeat_for"]
        or planning["until_failure"]
        or planning["seed"] is not None
    ):
        # Few runs repeat tasks.
        from mprun.cli.repeat import draw_seed

        draw_seed(planning)
    options = {name: value for name, value in planning.items() if name != "params"}
    if planning["partition"]:
        # Few runs are shards.
        from mprun.cli.partition import read_partition

        options["partition"] = read_partition(planning["partition"], job, state_dir)
    if not planning["names"] and not planning["tags"]:
        plan = api.plan_job(job, **options)
        print_daemons_alone(plan.tasks, plan.join)
        return plan
    # Most runs select nothing.
    from mprun.errors import NothingSelected
    from mprun.scheduling.selection import no_match, refuse_unknown, unmatched

    refuse_unknown(job, tasks)
    try:
        plan = api.plan_job(job, **options)
    except NothingSelected:
        raise NothingSelected(no_match(job, planning["names"], planning["tags"])) from None
    for message in unmatched(job, planning["names"], planning["tags"]):
        warn(message)
    print_daemons_alone(plan.tasks, plan.join)
    return plan


def all_warnings(job: Job) -> Iterator[tuple[str, Diagnostic | None]]:
    """The warnings about a job and its files: what is valid, and probably a mistake. See `warn`."""
    yield from early_warnings(job)
    if text := daemons_alone(job.tasks, job.join):
        yield text, None


def print_early_warnings(job: Job) -> None:
    """Print the warnings about a job's files, and the first about its tasks: the rest is more of the same."""
    for text, diagnostic in early_warnings(job):
        warn(text, diagnostic)


def print_daemons_alone(tasks: Sequence[Named], join: Collection[object] | None) -> None:
    """Print the warning about tasks of which the job waits for none."""
    if text := daemons_alone(tasks, join):
        warn(text)


def recorded_options(planning: dict[str, Any]) -> dict[str, Any]:
    """The values of `planning_options` for the record, which keeps params elsewhere and hides secrets."""
    return {name: value for name, value in planning.items() if name != "params" and value not in (None, ())}

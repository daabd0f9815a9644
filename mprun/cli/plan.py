"""The commands that read job files without running them: `validate` and `plan`."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import click

from mprun import api
from mprun.cli.job import all_warnings, plan_job_file, read_job
from mprun.cli.messages import expect_json, explain, print_json_line, print_lines, print_text, warn, write
from mprun.cli.options import STATE_DIR, complete_job, json_option, planning_options
from mprun.diagnostics import visible
from mprun.errors import UsageError
from mprun.record import garbage_collector
from mprun.reporters.format import plural

if TYPE_CHECKING:
    from mprun.jobfile.model import Job

# The formats of a plan: the module of `cli.views` that writes it, and its function.
PLAN_VIEWS = {
    "text": ("plan_text", "plan_lines"),
    "json": ("plan_json", "plan_json"),
    "mermaid": ("plan_graph", "mermaid_lines"),
    "dot": ("plan_graph", "dot_lines"),
}


@click.command()
@click.argument("jobs", type=click.Path(readable=False), nargs=-1, required=True, shell_complete=complete_job)
@click.option(
    "--restrict",
    metavar="DIR",
    help="Refuse job files, recipes and env files outside DIR, also behind links. Default: in CI (CI=true), "
    "the git work tree; else / (any file).",
)
@click.option("-q", "--quiet", is_flag=True, help="Show nothing about files without errors and warnings.")
@json_option("One JSON object per line, for each file: its errors and warnings.")
def validate(jobs: tuple[str, ...], restrict: str | None, quiet: bool, as_json: bool) -> int:
    """Check job files without running them.

    Every error is shown, with its place in the file. No target is imported.
    """
    from mprun.jobfile.restriction import allowed_directory

    restrict = allowed_directory(restrict, os.environ)
    code = 0
    for path in jobs:
        try:
            job = read_job(path, {}, (), lenient=True, restrict=restrict)
        except UsageError as error:
            if as_json:
                _print_checked(path, error=error)
            else:
                if code:
                    write("")
                explain(error)
            code = error.exit_code
        else:
            if as_json:
                _print_checked(path, job)
                continue
            for text, diagnostic in all_warnings(job):
                warn(text, diagnostic)
            if not quiet:
                print_text(f"{visible(path)}: ok, {plural(len(job.tasks), 'task')}")
    return code


def _print_checked(path: str, job: Job | None = None, error: UsageError | None = None) -> None:
    """Print what was found in a file, as one line of JSON."""
    from mprun.cli.json_messages import of_error, of_text

    found = {
        "file": path,
        "valid": error is None,
        "tasks": len(job.tasks) if job else None,
        "errors": list(of_error(error)) if error else [],
        "warnings": [of_text("warning", *warning) for warning in all_warnings(job)] if job else [],
    }
    print_json_line(found)


@click.command()
@click.argument("job", type=click.Path(readable=False), shell_complete=complete_job)
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=complete_job)
@planning_options
@click.option(
    "--format",
    "form",
    type=click.Choice(list(PLAN_VIEWS)),
    default="text",
    show_default=True,
    help="Text for people, JSON for programs, or the source of a graph.",
)
@json_option("The same as `--format json`.")
@STATE_DIR
def plan(
    job: str, tasks: tuple[str, ...], planning: dict[str, Any], form: str, as_json: bool, state_dir: str
) -> int:
    """Show what a job would run, and in what order.

    If earlier runs recorded how long its tasks take, the plan also shows the expected
    duration of the run and its critical path. No target is imported.
    """
    form = "json" if as_json else form
    if form == "json":
        expect_json()
    # All of it is needed to the end.
    with garbage_collector.paused(freezes=True):
        planned = plan_job_file(job, planning, tasks, state_dir=state_dir)
        forecast = api.forecast(planned, state_dir)
        module, function = PLAN_VIEWS[form]
        view = getattr(importlib.import_module(f"mprun.cli.views.{module}"), function)
        skips = api.expected_skips(planned, state_dir) if form in ("text", "json") else {}
        print_lines(view(planned, forecast, skips) if skips else view(planned, forecast))
    return 0

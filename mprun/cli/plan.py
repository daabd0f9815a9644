"""The commands that read job files: what is wrong with them, and what they would run."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from mprun import api
from mprun.cli.common_options import STATE_DIR
from mprun.cli.messages import explain, write
from mprun.cli.options import planned, planning_options, read_job, warn_of
from mprun.errors import UsageError
from mprun.reporters.format import count, visible


@click.command()
@click.argument("jobs", type=click.Path(), nargs=-1, required=True)
def validate(jobs: tuple[str, ...]) -> int:
    """Check job files: every problem, with its place; imports nothing."""
    code = 0
    for path in jobs:
        try:
            job = read_job(path, {}, (), lenient=True)
        except UsageError as error:
            if code:
                write("")
            explain(error)
            code = error.exit_code
        else:
            warn_of(job)
            click.echo(f"{visible(path)}: ok, {count(len(job.tasks), 'task')}")
    return code


# The formats of a plan: the reporter that has it, and what gives its lines.
PLAN_VIEWS = {
    "text": ("plan_text", "plan_lines"),
    "json": ("plan_json", "plan_json"),
    "mermaid": ("plan_graph", "mermaid_lines"),
    "dot": ("plan_graph", "dot_lines"),
}


@click.command()
@click.argument("job", type=click.Path())
@planning_options
@click.option(
    "--format",
    "form",
    type=click.Choice(list(PLAN_VIEWS)),
    default="text",
    show_default=True,
    help="For people, for programs, or as a picture's source.",
)
@STATE_DIR
def plan(job: str, form: str, state_dir: str, **planning: Any) -> int:
    """Show what a job would run, and how; imports nothing.

    Where earlier runs tell how long its tasks take, also how long the run, and its critical path.
    """
    found = planned(job, planning)
    outlook = api.foresee(found, state_dir)
    module, lines = PLAN_VIEWS[form]
    for line in getattr(importlib.import_module(f"mprun.cli.views.{module}"), lines)(found, outlook):
        sys.stdout.write(line + "\n")
    return 0

"""The commands to begin with: a first job file, and the schemas."""

from __future__ import annotations

import click


@click.command()
@click.argument("path", type=click.Path(), default="job.yaml")
def init(path: str) -> int:
    """Write a first job file, and the module that it runs.

    The module, `tasks.py`, goes into the working directory. Nothing is overwritten.
    """
    from mprun.cli.starter_files import write_starter

    for written in write_starter(path):
        click.echo(f"wrote {written}")
    click.echo(f"run it with: mprun {path}")
    return 0


@click.command()
@click.argument("name", type=click.Choice(["job", "event"]), default="job")
def schema(name: str) -> int:
    """Print the JSON Schema of job files, or of events."""
    from mprun.jobfile.schema.job_schema import schema_text

    click.echo(schema_text(name), nl=False)
    return 0

"""The commands to begin with: a first job file, and the schemas."""

from __future__ import annotations

import os
import shlex

import click

from mprun.diagnostics import quote
from mprun.errors import UsageError

JOB = """\
# Run it with: mprun {path}
# Every key and its meaning: mprun schema
tasks:
  - name: hello
    target: tasks:greet # package.module:callable, found from where mprun is started
    args: [world]

  - name: again
    target: tasks:greet
    kwargs: {{name: mprun, times: 3}}
    depends_on: hello
"""

MODULE = '''\
"""The functions that the tasks of the job call."""

import os


def greet(name: str, times: int = 1) -> int:
    """Print a greeting; the return value goes into the record of the run."""
    for _ in range(times):
        print(f"hello {name}, from process {os.getpid()}, a child of {os.getppid()}")
    return times
'''


@click.command()
@click.argument("path", type=click.Path(), default="job.yaml")
def init(path: str) -> int:
    """Write a first job file, and the module that it runs.

    The module, `tasks.py`, goes into the working directory. Existing files are never overwritten.
    """
    for written in write_starter(path):
        click.echo(f"wrote {written}")
    click.echo(f"run it with: mprun {path}")
    return 0


def write_starter(path: str) -> list[str]:
    """Write the job file and `tasks.py` into the working directory; their names.

    Raises UsageError if one of them exists.
    """
    wanted = {path: JOB.format(path=path), "tasks.py": MODULE}
    if os.path.isdir(path):
        raise UsageError(f"{quote(path)} is a directory; name a file in it")
    for name in wanted:
        if os.path.lexists(name):
            raise UsageError(f"{quote(name)} already exists; run `mprun init` in another directory")
    for name, text in wanted.items():
        try:
            with open(name, "x", encoding="utf-8") as file:
                file.write(text)
        except FileNotFoundError:
            folder = os.path.dirname(name)
            remedy = f"create it with {quote(f'mkdir -p {shlex.quote(folder)}')}"
            raise UsageError(f"directory {quote(folder)} not found; {remedy}") from None
        except OSError as error:
            raise UsageError(f"cannot write {quote(name)}: {error.strerror}") from None
    return list(wanted)


@click.command()
@click.argument("name", type=click.Choice(["job", "event"]), default="job")
def schema(name: str) -> int:
    """Print the JSON Schema of job files, or of events."""
    from mprun.jobfile.schema.job_schema import schema_text

    click.echo(schema_text(name), nl=False)
    return 0

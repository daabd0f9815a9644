"""The commands to begin with: a first job file, and the schemas."""

from __future__ import annotations

import os
import shlex

import click

from mprun.cli.messages import print_text
from mprun.diagnostics import quote, visible
from mprun.engine.directories import require_working_directory
from mprun.errors import UsageError

JOB = """\
# Run it with: mprun {path}
# Every key and its meaning: mprun schema
tasks:
  - name: hello
    target: tasks:greet # package.module:callable, found beside this file
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
@click.argument("path", type=click.Path(readable=False), default="job.yaml")
def init(path: str) -> int:
    """Write a first job file, and the module that it runs.

    PATH is the job file, or a directory for it: a name that does not end with .yaml or .yml. The
    module, `tasks.py`, goes beside the job file. Existing files are never overwritten.
    """
    if not path.endswith((".yaml", ".yml")):
        path = os.path.join(path, "job.yaml")
    for written in write_starter(path):
        print_text(f"wrote {visible(written)}")
    print_text(f"run it with: mprun {visible(shlex.quote(path))}")
    return 0


def write_starter(path: str) -> list[str]:
    """Write a job file, and `tasks.py` beside it; their names. Their directory is made if need be.

    Raises UsageError if one of them exists or cannot be written.
    """
    folder = os.path.dirname(path)
    wanted = {path: JOB.format(path=visible(shlex.quote(path))), os.path.join(folder, "tasks.py"): MODULE}
    for name in wanted:
        if os.path.lexists(name):
            raise UsageError(f"{quote(name)} already exists; name another directory: `mprun init DIRECTORY`")
    try:
        os.makedirs(folder or ".", exist_ok=True)
        for name, text in wanted.items():
            with open(name, "x", encoding="utf-8") as file:
                file.write(text)
    except (OSError, ValueError) as error:
        require_working_directory()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot write {quote(getattr(error, 'filename', None) or path)}: {reason}"
        ) from None
    return list(wanted)


# Of job files, of what `--json` prints (by command), and of events, as in the record.
SCHEMAS = (
    "job",
    "event",
    "compare",
    "describe",
    "error",
    "flaky",
    "list",
    "logs",
    "pack",
    "plan",
    "runs",
    "show",
    "stop",
    "tree",
    "validate",
    "why",
)


@click.command()
@click.argument("name", type=click.Choice(SCHEMAS), default="job")
def schema(name: str) -> int:
    """Print the JSON Schema of job files, or of what a command prints.

    `event` is that of a line of a record and of --events; `error` that of errors, warnings and
    notes, which are objects, too, with --json. The others are of the --json of the command of this
    name; `run` and `resume` print what `show` does.
    """
    from mprun.jobfile.schema.job_schema import schema_text

    print_text(schema_text(name).removesuffix("\n"))
    return 0

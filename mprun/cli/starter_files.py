"""The first job file, as `mprun init` writes it, and the module that it runs."""

from __future__ import annotations

import os

from mprun.errors import UsageError

JOB = """\
# Run it with: mprun {path}
# Every key, with its meaning: mprun schema
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
"""What the tasks of the job call: plain functions."""

import os


def greet(name: str, times: int = 1) -> int:
    """Print a greeting; what is returned goes into the record of the run."""
    for _ in range(times):
        print(f"hello {name}, from process {os.getpid()}, a child of {os.getppid()}")
    return times
'''


def write_starter(path: str) -> list[str]:
    """Write the job file and `tasks.py` into the working directory; the names of both.

    Raises UsageError where one of them is there already: nothing is overwritten.
    """
    wanted = {path: JOB.format(path=path), "tasks.py": MODULE}
    for name in wanted:
        if os.path.lexists(name):
            raise UsageError(
                f"{name} is there already, and nothing is overwritten: run mprun init in another directory"
            )
    for name, text in wanted.items():
        try:
            with open(name, "x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"{name} cannot be written: {error.strerror}") from None
    return list(wanted)

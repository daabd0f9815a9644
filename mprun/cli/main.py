"""The command line: options in, exit code out."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys

import click

from mprun import outcomes
from mprun.cli.commands import Commands, DefaultCommandGroup
from mprun.cli.messages import explain, say, write
from mprun.diagnostics import quote
from mprun.errors import MprunError
from mprun.reporters.console import silence

EXIT_CODES = """\b
Exit codes:
  0    every task succeeded, or was stopped as planned
  1    a task failed
  2    bad usage or a bad job file; nothing was started
  3    mprun itself failed (launcher lost, disk full)
  4    the selection matched nothing
  129  SIGHUP; 130 Ctrl-C; 143 SIGTERM
"""
EXAMPLES = """\b
The smallest job file, which calls two functions of work.py:
  tasks:
    - target: work:fetch
    - target: work:crunch
"""


@click.group(
    cls=DefaultCommandGroup,
    commands=Commands(),
    epilog=EXAMPLES + "\n\n" + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mprun", message="mprun %(version)s")
def group() -> None:
    """Run the tasks of a job file, each as a process of its own, and keep a record.

    `mprun JOB` runs JOB, a YAML file; it is short for `mprun run JOB`.
    """


def main(launcher: tuple[int, int] | None = None) -> int:
    """Run the command line with a launcher that may have been forked already; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whatever the locale, as a task's output; a name must not end a run.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _command(launcher)
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads what we have to say; what was to be done is done.
        code = 128 + signal.SIGPIPE
    except OSError as error:
        # Of a write: the disk is full that `mprun show > FILE` goes to.
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        what = "the output cannot be written" if full else f"mprun cannot go on{_about(error)}"
        say("error", f"{what}: {error.strerror}")
        code = outcomes.EXIT_INTERNAL
    finally:
        if launcher is not None:
            _kill_unused_launcher(launcher[0])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    return code


def _about(error: OSError) -> str:
    return "" if error.filename is None else f" with {quote(str(error.filename))}"


def _kill_unused_launcher(launcher: int) -> None:
    """End a launcher that was forked for a run that did not come about."""
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(launcher, os.WNOHANG) == (0, 0):
            os.kill(launcher, signal.SIGKILL)
            os.waitpid(launcher, 0)


def _command(launcher: tuple[int, int] | None) -> int:
    try:
        return int(group.main(prog_name="mprun", standalone_mode=False, obj=launcher) or 0)
    except click.ClickException as error:
        error.show()
        _name_variable(error)
        return error.exit_code
    except MprunError as error:
        explain(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT


def _name_variable(error: click.ClickException) -> None:
    """Say so where a bad value was not typed, but came from an environment variable."""
    if not isinstance(error, click.BadParameter) or error.param is None or error.ctx is None:
        return
    source = error.ctx.get_parameter_source(error.param.name or "")
    if source is click.core.ParameterSource.ENVIRONMENT:
        write(f"The value comes from the environment variable {error.param.envvar}.")

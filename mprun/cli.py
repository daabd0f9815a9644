"""The command line: options in, exit code out."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from mprun import api, outcomes
from mprun.assembly import assemble
from mprun.errors import MprunError, UsageError
from mprun.options import STATE_DIR, JobFirst, planning_options
from mprun.preparation import START_TIMEOUT
from mprun.problems import quote
from mprun.reporters.console import OUTPUTS, Console, silence, wants_colour
from mprun.reporters.errors import explain, say, warn, write
from mprun.reporters.words import count, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.executors.base import Executor
    from mprun.plan import Plan
    from mprun.reporters.base import Reporter

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
    cls=JobFirst,
    epilog=EXAMPLES + "\n\n" + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mprun", message="mprun %(version)s")
def group() -> None:
    """Run the tasks of a job file, each as a process of its own, and keep a record.

    `mprun JOB` runs JOB, a YAML file; it is short for `mprun run JOB`.
    """


def _events_reporter(path: str) -> Callable[[api.Context], Reporter]:
    from mprun.reporters.jsonl import JsonLines

    if path == "-":
        return lambda context: JsonLines(sys.stdout, warn)
    try:
        stream = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  closed at exit
    except OSError as error:
        raise UsageError(f"--events: {path} cannot be written: {error.strerror}") from None
    return lambda context: JsonLines(stream, warn)


@group.command()
@click.argument("job", type=click.Path())
@planning_options
@click.option("--dry-run", is_flag=True, help="Import and check every target, start nothing.")
@click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="prefix",
    show_default=True,
    envvar="MPRUN_OUTPUT",
    help="Tasks' output: lines as they come, or whole at the join, or of failed tasks, or none.",
)
@click.option(
    "-v", "--verbose", count=True, envvar="MPRUN_VERBOSE", help="Show the lineage: a line an event."
)
@click.option(
    "-q", "--quiet", is_flag=True, envvar="MPRUN_QUIET", help="Nothing but tasks' output, unless one fails."
)
@click.option(
    "--events", metavar="FILE", envvar="MPRUN_EVENTS", help="Copy the record's events to FILE; - is stdout."
)
@click.option(
    "--start-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=START_TIMEOUT,
    show_default=True,
    envvar="MPRUN_START_TIMEOUT",
    metavar="SECONDS",
    help="How long the imports of the targets may take.",
)
@STATE_DIR
@click.pass_obj
def run(
    launcher: tuple[int, int] | None,
    /,
    job: str,
    dry_run: bool,
    output: str,
    verbose: int,
    quiet: bool,
    events: str | None,
    start_timeout: float,
    state_dir: str,
    **planning: Any,
) -> int:
    """Run a job file."""
    plan = _planned(job, planning)
    reporters: list[Callable[[api.Context], Reporter]] = []
    if events != "-":
        names = [planned.name for planned in plan.tasks]
        verbosity = -1 if quiet else verbose
        reporters.append(
            lambda context: Console(context.directory, names, output=output, verbosity=verbosity)
        )
    if events:
        reporters.append(_events_reporter(events))
    result = api.run_job(
        plan,
        state_dir=state_dir,
        reporters=reporters,
        executor=_executor(launcher),
        start_timeout=start_timeout,
        options={**_told(planning), "output": output},
        warn=warn,
        dry_run=dry_run,
    )
    if dry_run and result.exit_code == 0:
        write(f"{visible(job)}: every target can be called; nothing was started")
    return result.exit_code


def _planned(path: str, planning: dict[str, Any]) -> Plan:
    """The plan of a job file by the options of PLANNING."""
    options = dict(planning)
    job = assemble(path, {}, options.pop("params"), os.environ)
    return api.plan_job(job, **options)


def _told(planning: dict[str, Any]) -> dict[str, Any]:
    """The options as the record has them: params have a place of their own, where secrets are hidden."""
    return {name: value for name, value in planning.items() if name != "params" and value not in (None, ())}


def _executor(launcher: tuple[int, int] | None) -> Executor | None:
    from mprun.executors.local import adopt_launcher

    return adopt_launcher(*launcher) if launcher else None


@group.command()
@click.argument("jobs", type=click.Path(), nargs=-1, required=True)
def validate(jobs: tuple[str, ...]) -> int:
    """Check job files: every problem, with its place; imports nothing."""
    code = 0
    for path in jobs:
        try:
            job = assemble(path, {}, (), os.environ, lenient=True)
        except UsageError as error:
            if code:
                write("")
            explain(error)
            code = error.exit_code
        else:
            click.echo(f"{visible(path)}: ok, {count(len(job.tasks), 'task')}")
    return code


# The formats of a plan: the reporter that has it, and what gives its lines.
PLAN_VIEWS = {
    "text": ("plan_text", "plan_lines"),
    "json": ("plan_json", "plan_json"),
    "mermaid": ("plan_graph", "mermaid_lines"),
    "dot": ("plan_graph", "dot_lines"),
}


@group.command()
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
def plan(job: str, form: str, **planning: Any) -> int:
    """Show what a job would run, and how; imports nothing."""
    planned = _planned(job, planning)
    module, lines = PLAN_VIEWS[form]
    for line in getattr(importlib.import_module(f"mprun.reporters.{module}"), lines)(planned):
        sys.stdout.write(line + "\n")
    return 0


@group.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@STATE_DIR
def show(run: str | None, as_json: bool, state_dir: str) -> int:
    """Show one run: its tasks and how they ended.

    The newest run where none is named.
    """
    from mprun.record import read_state
    from mprun.reporters.show import show_run
    from mprun.statedir import find_run

    directory = find_run(state_dir, run)
    state, damage = read_state(directory)
    for what in damage:
        warn(f"{directory.events}: {what}, left out")
    if as_json:
        _print_json(state.to_json())
    else:
        show_run(directory, state, sys.stdout, wants_colour(sys.stdout))
    return 0


@group.command()
@click.argument("tasks", nargs=-1)
@click.option("--run", metavar="RUN", help="The run's id, or its beginning; the newest where none is named.")
@STATE_DIR
def logs(tasks: tuple[str, ...], run: str | None, state_dir: str) -> int:
    """Show what the tasks of a run printed.

    Of all tasks where none is named; `main` is the process that imported them.
    """
    from mprun.record import read_state
    from mprun.reporters.show import show_logs
    from mprun.statedir import find_run

    directory = find_run(state_dir, run)
    state, damage = read_state(directory)
    for what in damage:
        warn(f"{directory.events}: {what}, left out")
    show_logs(directory, state, tasks)
    return 0


@group.command()
@click.argument("path", type=click.Path(), default="job.yaml")
def init(path: str) -> int:
    """Write a first job file, and the module that it runs.

    The module, `tasks.py`, goes into the working directory. Nothing is overwritten.
    """
    from mprun.starter import write_starter

    for written in write_starter(path):
        click.echo(f"wrote {written}")
    click.echo(f"run it with: mprun {path}")
    return 0


@group.command()
@click.argument("name", type=click.Choice(["job", "event"]), default="job")
def schema(name: str) -> int:
    """Print the JSON Schema of job files, or of events."""
    from mprun.schema import schema_text

    click.echo(schema_text(name), nl=False)
    return 0


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


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
            _dismiss(launcher[0])
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    return code


def _about(error: OSError) -> str:
    return "" if error.filename is None else f" with {quote(str(error.filename))}"


def _dismiss(launcher: int) -> None:
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

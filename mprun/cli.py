"""The command line: options in, exit code out."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from mprun import api, outcomes
from mprun.errors import MprunError, UsageError
from mprun.job import START_METHODS
from mprun.preparation import START_TIMEOUT
from mprun.problems import closest, quote
from mprun.reporters.console import OUTPUTS, Console, silence, wants_colour
from mprun.reporters.errors import explain, say, warn, write
from mprun.reporters.words import count, visible
from mprun.statedir import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from mprun.executors.base import Executor
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
The smallest job file:
  tasks:
    - target: examples.dancing:dance
    - target: examples.singing:sing
"""


class JobFirst(click.Group):
    """A group in which `mprun JOB` means `mprun run JOB`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named, else `run` with everything as its arguments."""
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:
            self._refuse_typo(args[0])
        return "run", self.commands["run"], args

    def _refuse_typo(self, word: str) -> None:
        """Raise UsageError for what is no file, does not look like one, and nearly is a command."""
        if word.startswith("-") or "." in word or "/" in word or os.path.lexists(word):
            return
        meant = closest(word, self.commands)
        if meant:
            name = quote(word)
            raise UsageError(f"there is no command and no job file {name}; did you mean `mprun {meant}`?")

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; click itself ends with 1 where nobody reads, which is for failed tasks."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return 128 + signal.SIGPIPE

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, and the files, since a job file may stand in a command's place."""
        from click.shell_completion import CompletionItem

        return [*super().shell_complete(ctx, incomplete), CompletionItem(incomplete, type="file")]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave a run's options, which may stand first, to the run."""
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)


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


STATE_DIR = click.option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)
MAX_PARALLEL = click.option(
    "-j",
    "--max-parallel",
    type=click.IntRange(min=1),
    envvar="MPRUN_MAX_PARALLEL",
    metavar="N",
    help="How many tasks run at once at most.",
)
START_METHOD = click.option(
    "--start-method",
    type=click.Choice(START_METHODS),
    envvar="MPRUN_START_METHOD",
    help="How every task's process is started.",
)


@group.command()
@click.argument("job", type=click.Path())
@MAX_PARALLEL
@START_METHOD
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
@click.option("-q", "--quiet", is_flag=True, envvar="MPRUN_QUIET", help="Say nothing unless a task fails.")
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
    job: str,
    max_parallel: int | None,
    start_method: str | None,
    dry_run: bool,
    output: str,
    verbose: int,
    quiet: bool,
    events: str | None,
    start_timeout: float,
    state_dir: str,
) -> int:
    """Run a job file."""
    plan = api.plan_job(api.load_job(job), max_parallel=max_parallel, start_method=start_method)
    reporters: list[Callable[[api.Context], Reporter]] = []
    if events != "-":
        names = [planned.task.name for planned in plan.tasks]
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
        options={"max_parallel": max_parallel, "start_method": start_method, "output": output},
        warn=warn,
        dry_run=dry_run,
    )
    if dry_run and result.exit_code == 0:
        write(f"{visible(job)}: every target can be called; nothing was started")
    return result.exit_code


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
            job = api.load_job(path)
        except UsageError as error:
            if code:
                write("")
            explain(error)
            code = error.exit_code
        else:
            click.echo(f"{visible(path)}: ok, {count(len(job.tasks), 'task')}")
    return code


@group.command()
@click.argument("job", type=click.Path())
@MAX_PARALLEL
@START_METHOD
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def plan(job: str, max_parallel: int | None, start_method: str | None, form: str) -> int:
    """Show what a job would run, and how; imports nothing."""
    planned = api.plan_job(api.load_job(job), max_parallel=max_parallel, start_method=start_method)
    if form == "json":
        from mprun.plan import to_json

        _print_json(to_json(planned))
    else:
        from mprun.reporters.plan_text import plan_lines

        for line in plan_lines(planned):
            click.echo(line)
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
        if error.filename is not None:
            raise
        # A write: the disk is full that `mprun show > FILE` goes to.
        say("error", f"the output cannot be written: {error.strerror}")
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

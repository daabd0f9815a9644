"""The command that runs a job file."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import click

from mprun import api
from mprun.cli.common_options import STATE_DIR
from mprun.cli.messages import warn, write
from mprun.cli.options import planned, planning_options, told
from mprun.engine.preflight import START_TIMEOUT
from mprun.errors import UsageError
from mprun.reporters.console import OUTPUTS, Console
from mprun.reporters.format import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.executors.base import Executor
    from mprun.record.resume import Resumption
    from mprun.reporters.base import Reporter
    from mprun.scheduling.plan import Plan


def _events_reporter(path: str) -> Callable[[api.Context], Reporter]:
    from mprun.reporters.jsonl import JsonLines

    if path == "-":
        return lambda context: JsonLines(sys.stdout, warn)
    try:
        stream = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  closed at exit
    except OSError as error:
        raise UsageError(f"--events: {path} cannot be written: {error.strerror}") from None
    return lambda context: JsonLines(stream, warn)


# How a run is shown, and where it is kept: of `run` and of `resume` alike.
RUNNING = (
    click.option(
        "--output",
        type=click.Choice(OUTPUTS),
        default="prefix",
        show_default=True,
        envvar="MPRUN_OUTPUT",
        help="Tasks' output: lines as they come, or whole at the join, or of failed tasks, or none.",
    ),
    click.option(
        "-v", "--verbose", count=True, envvar="MPRUN_VERBOSE", help="Show the lineage: a line an event."
    ),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        envvar="MPRUN_QUIET",
        help="Nothing but tasks' output, unless one fails.",
    ),
    click.option(
        "--events",
        metavar="FILE",
        envvar="MPRUN_EVENTS",
        help="Copy the record's events to FILE; - is stdout.",
    ),
    click.option(
        "--start-timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=START_TIMEOUT,
        show_default=True,
        envvar="MPRUN_START_TIMEOUT",
        metavar="SECONDS",
        help="How long the imports of the targets may take.",
    ),
    STATE_DIR,
)


def running_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of RUNNING, as keyword arguments of `execute`."""
    for option in reversed(RUNNING):
        command = option(command)
    return command


@click.command()
@click.argument("job", type=click.Path())
@planning_options
@click.option("--dry-run", is_flag=True, help="Import and check every target, start nothing.")
@running_options
@click.pass_obj
def run(launcher: tuple[int, int] | None, /, job: str, dry_run: bool, **options: Any) -> int:
    """Run a job file."""
    running = {name: options.pop(name) for name in RUNNING_NAMES}
    plan = planned(job, options)
    code = execute(plan, launcher, told(options), dry_run=dry_run, **running).exit_code
    if dry_run and code == 0:
        write(f"{visible(job)}: every target can be called; nothing was started")
    return code


RUNNING_NAMES = ("output", "verbose", "quiet", "events", "start_timeout", "state_dir")


def execute(
    plan: Plan,
    launcher: tuple[int, int] | None,
    options: dict[str, Any],
    *,
    output: str,
    verbose: int,
    quiet: bool,
    events: str | None,
    start_timeout: float,
    state_dir: str,
    dry_run: bool = False,
    resumes: Resumption | None = None,
) -> api.RunResult:
    """Run a plan with the launcher that was forked for it, and show it."""
    reporters: list[Callable[[api.Context], Reporter]] = []
    if events != "-":
        names = [task.name for task in plan.tasks]
        # A list that a task returns makes more.
        grows = any(planned.task.foreach is not None for planned in plan.tasks)
        verbosity = -1 if quiet else verbose
        reporters.append(
            lambda context: Console(
                context.directory,
                names,
                is_ended=context.is_ended,
                output=output,
                verbosity=verbosity,
                total=None if grows else len(names),
            )
        )
    if events:
        reporters.append(_events_reporter(events))
    # Disabled since the launcher was forked; what is there by now lives as long as the run.
    gc.freeze()
    gc.enable()
    return api.run_job(
        plan,
        state_dir=state_dir,
        reporters=reporters,
        executor=_executor(launcher),
        start_timeout=start_timeout,
        options={**options, "output": output},
        warn=warn,
        dry_run=dry_run,
        resumes=resumes,
        results=False,
    )


def _executor(launcher: tuple[int, int] | None) -> Executor | None:
    from mprun.executors.local import adopt_launcher

    return adopt_launcher(*launcher) if launcher else None

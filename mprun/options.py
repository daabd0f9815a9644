"""The parts that the command line is made of: its group of commands and the options they share."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import click

from mprun.durations import seconds
from mprun.errors import UsageError
from mprun.job import START_METHODS
from mprun.problems import closest, quote
from mprun.statedir import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem


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

        # First: bash's script forgets what it has when it comes to the files.
        return [CompletionItem(incomplete, type="file"), *super().shell_complete(ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave a run's options, which may stand first, to the run."""
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)


STATE_DIR = click.option(
    "--state-dir",
    default=DEFAULT,
    show_default=True,
    envvar="MPRUN_STATE_DIR",
    metavar="DIR",
    help="Where the records of runs are kept.",
)


def _to_seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """An option's duration, written as a job file writes it, in seconds."""
    if value is None:
        return None
    try:
        return seconds(float(value) if value.replace(".", "", 1).isdecimal() else value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


# What goes before the job file, in `run` and in `plan` alike.
PLANNING = (
    click.option(
        "-p",
        "--param",
        "params",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a param; NAME=@FILE reads it from a file. MPRUN_PARAM_NAME sets it, too.",
    ),
    click.option(
        "-k",
        "--name",
        "names",
        multiple=True,
        envvar="MPRUN_NAME",
        metavar="GLOB",
        help="Run the tasks whose name matches (* and ?), and what they depend on.",
    ),
    click.option(
        "-t",
        "--tag",
        "tags",
        multiple=True,
        envvar="MPRUN_TAG",
        metavar="TAG",
        help="Run the tasks with this tag, and what they depend on.",
    ),
    click.option(
        "--deps/--no-deps",
        "with_dependencies",
        default=True,
        envvar="MPRUN_DEPS",
        help="With -k and -t: take along what the tasks depend on, as they do by default.",
    ),
    click.option(
        "-j",
        "--max-parallel",
        type=click.IntRange(min=1),
        envvar="MPRUN_MAX_PARALLEL",
        metavar="N",
        help="How many tasks run at once at most.",
    ),
    click.option(
        "-x",
        "--fail-fast",
        is_flag=True,
        default=None,
        envvar="MPRUN_FAIL_FAST",
        help="Stop the run at the first failure.",
    ),
    click.option(
        "--timeout",
        callback=_to_seconds,
        envvar="MPRUN_TIMEOUT",
        metavar="DURATION",
        help="How long the whole run may take: seconds, or 1m30s.",
    ),
    click.option(
        "--start-method",
        type=click.Choice(START_METHODS),
        envvar="MPRUN_START_METHOD",
        help="How every task's process is started.",
    ),
)


def planning_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of PLANNING, as keyword arguments of `api.plan_job`."""
    for option in reversed(PLANNING):
        command = option(command)
    return command

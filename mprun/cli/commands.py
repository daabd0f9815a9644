"""The commands as click has them, for all command lines but the plain ones that run a job."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from mprun import __version__
from mprun.cli.command_line import MODULES, may_be_job
from mprun.cli.messages import expect_json_errors
from mprun.outcomes import EXIT_CLOSED_PIPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.shell_completion import CompletionItem

EXIT_CODES = """\b
Exit codes:
  0    every task succeeded, or was stopped as planned
  1    a task failed, or was skipped because a success did not come
  2    bad usage or a bad job file; nothing was started
  3    mprun itself failed (main process lost, disk full)
  4    the selection matched nothing
  129  SIGHUP; 130 Ctrl-C; 143 SIGTERM
"""
EXAMPLES = """\b
The smallest job file, which calls two functions of work.py:
  tasks:
    - target: work:fetch
    - target: work:crunch
"""


class Commands(Mapping[str, click.Command]):
    """The commands by name; a command's module is imported when the command is looked up.

    So the start of a job does not pay for the other commands.
    """

    def __getitem__(self, name: str) -> click.Command:
        command: click.Command = getattr(importlib.import_module(f"mprun.cli.{MODULES[name]}"), name)
        return command

    def __contains__(self, name: object) -> bool:
        return name in MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class DefaultCommandGroup(click.Group):
    """A group in which `mprun JOB` means `mprun run JOB`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; else `run` with everything as its arguments, or `describe` for help."""
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        word = args[0]
        if not may_be_job(word) and not ctx.resilient_parsing:
            # Most job files have an ending.
            from mprun.cli.usage_errors import refuse_typo

            refuse_typo(word, self.commands)
        if {"-h", "--help"}.intersection(args):
            return "describe", self.commands["describe"], [word, *{"--json"}.intersection(args)]
        return "run", self.commands["run"], args

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; its output may be a pipe that the reader closes early."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return EXIT_CLOSED_PIPE

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Files and commands: a job file may take the place of a command."""
        from mprun.cli.completion import job_files_and_recipes

        return [*job_files_and_recipes(incomplete), *super().shell_complete(ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options; options of a run may come first, and are left to it."""
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = _described(args) or ["run", *args]
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            # From `mprun --help | head -1`.
            ctx.exit(EXIT_CLOSED_PIPE)


def _described(args: list[str]) -> list[str]:
    """The arguments for help about a job file that options go before; none if they ask for none."""
    if not {"-h", "--help"}.intersection(args):
        return []
    # Few command lines ask for help.
    from mprun.jobfile.packages import names_package

    # It may be the value of an option, which only that option knows.
    job = next((word for word in args if names_package(word) or os.path.isfile(word)), None)
    return [] if job is None else [job, *args]


@click.group(
    cls=DefaultCommandGroup,
    commands=Commands(),
    epilog=EXAMPLES + "\n\n" + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="mprun %(version)s")
def group() -> None:
    """Run the tasks of a job file, each in its own process, and keep a record.

    `mprun JOB` runs JOB, a YAML file, or standard input if JOB is `-`; it is short for `mprun run
    JOB`. With names of tasks after it, these run, and those that they depend on.
    """


def run_group(launcher: tuple[int, int] | None) -> int:
    """Run the command line; the exit code."""
    if "_MPRUN_COMPLETE" in os.environ:
        from mprun.cli.shells import register

        register()
    try:
        return int(group.main(prog_name="mprun", standalone_mode=False, obj=launcher) or 0)
    except click.ClickException as error:
        from mprun.cli.usage_errors import explain_usage

        expect_json_errors()
        explain_usage(error, group.commands)
        return error.exit_code
    except click.Abort:
        return 128 + signal.SIGINT

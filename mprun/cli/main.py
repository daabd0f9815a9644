"""The command line: which commands there are, and what becomes of their errors."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from mprun import __version__
from mprun.cli.messages import expect_json, explain, say
from mprun.errors import MprunError
from mprun.outcomes import EXIT_INTERNAL
from mprun.reporters.door import open_door
from mprun.reporters.terminal import silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.shell_completion import CompletionItem

# Each command, and the module of this package that defines a function of its name.
MODULES = {
    "compare": "compare",
    "describe": "describe",
    "export": "export",
    "flaky": "flaky",
    "help": "help",
    "init": "init",
    "list": "catalog",
    "logs": "show",
    "merge": "merge",
    "pack": "pack",
    "plan": "plan",
    "report": "report",
    "result": "result",
    "resume": "resume",
    "run": "run",
    "runs": "runs",
    "schema": "init",
    "show": "show",
    "stop": "stop",
    "tree": "show",
    "validate": "plan",
    "why": "why",
}

# A closed pipe ends the command as SIGPIPE would; click's own code for it, 1, means a failed task.
_EXIT_CLOSED_PIPE = 128 + signal.SIGPIPE

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
        is_file = word.startswith("-") or "." in word or "/" in word or os.path.lexists(word)
        if not is_file and not ctx.resilient_parsing:
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
            return _EXIT_CLOSED_PIPE

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Files and commands: a job file may take the place of a command."""
        from click.shell_completion import CompletionItem

        # Files first: bash's script drops the earlier items when it reaches them.
        return [CompletionItem(incomplete, type="file"), *super().shell_complete(ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options; options of a run may come first, and are left to it."""
        own = {"--help", "-h", "--version"}
        if args and args[0].startswith("-") and args[0] not in own:
            args = _described(args) or ["run", *args]
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            # From `mprun --help | head -1`.
            ctx.exit(_EXIT_CLOSED_PIPE)


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


def main(launcher: tuple[int, int] | None = None) -> int:
    """Run the command line and return its exit code.

    `launcher` is the pid of a launcher that is already forked, and the descriptor of a socket to it.
    """
    open_door()
    try:
        code = _run_command(launcher)
        sys.stdout.flush()
    except BrokenPipeError:
        # The command has done its work; only the reader of its output is gone.
        code = _EXIT_CLOSED_PIPE
    except OSError as error:
        from mprun.cli.os_errors import explain_os_error

        _expect_json_errors()
        code = explain_os_error(error)
    finally:
        _remove_unpacked()
        if launcher is not None:
            with contextlib.suppress(ChildProcessError):
                # A run reaps it.
                os.waitid(os.P_PID, launcher[0], os.WEXITED | os.WNOHANG | os.WNOWAIT)
                from mprun.launcher.main import kill_unused

                kill_unused(launcher[0])
    _finish_display()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    return code


def _remove_unpacked() -> None:
    # Only a command that reads a packed run has it.
    packed_run = sys.modules.get("mprun.record.packed_run")
    if packed_run is not None:
        packed_run.remove_unpacked()


def _finish_display() -> None:
    """Give those who read what a run has shown some time, and say what they have not read."""
    # Only a run has one.
    outlet = sys.modules.get("mprun.reporters.outlet")
    if outlet is None:
        return
    try:
        text = outlet.display.finish()
    except Exception as error:
        # The run has ended, and its exit code is in the record.
        _report_defect(error)
        return
    if not text:
        return
    where = ""
    if outlet.display.directory:
        from mprun.record.commands import short_path
        from mprun.record.not_shown import keep_not_shown

        where = f"; all of it is in {short_path(outlet.display.directory)}"
        # Perhaps neither stream takes a message.
        keep_not_shown(outlet.display.directory, text)
    if (stream := outlet.display.stream_that_works()) is not None:
        say("warning", text + where, stream)


def _run_command(launcher: tuple[int, int] | None) -> int:
    try:
        return int(group.main(prog_name="mprun", standalone_mode=False, obj=launcher) or 0)
    except click.ClickException as error:
        from mprun.cli.usage_errors import explain_usage

        _expect_json_errors()
        explain_usage(error, group.commands)
        return error.exit_code
    except MprunError as error:
        _expect_json_errors()
        explain(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except OSError:
        raise
    except Exception as error:
        return _report_defect(error)


def _expect_json_errors() -> None:
    """Report an error as JSON if the command line has `--json`, which may not have been parsed yet."""
    words = sys.argv[1:]
    if "--json" in words[: words.index("--") if "--" in words else None]:
        expect_json()


def _report_defect(error: Exception) -> int:
    """Ask for a report of an exception that nothing expects; the exit code."""
    from mprun.record.traceback_file import keep_traceback

    say("error", keep_traceback(error))
    return EXIT_INTERNAL

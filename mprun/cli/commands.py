"""The group of commands: which there are, where each is found, and that `mprun JOB` is one of them."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from mprun.diagnostics import closest, quote
from mprun.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.shell_completion import CompletionItem

# Each command, and the module of this package that has a function of its name.
MODULES = {
    "init": "init",
    "logs": "show",
    "plan": "plan",
    "resume": "resume",
    "run": "run",
    "runs": "runs",
    "schema": "init",
    "show": "show",
    "stop": "stop",
    "tree": "show",
    "validate": "plan",
}


class Commands(Mapping[str, click.Command]):
    """The commands by name; a command's module is imported when it is asked for.

    A start of a job pays for no other command.
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


# As of who is ended by the signal; it is not click's 1, which is for failed tasks.
_NOBODY_READS = 128 + signal.SIGPIPE


class DefaultCommandGroup(click.Group):
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
        """Run the command, which nobody may read."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            return _NOBODY_READS

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
        try:
            return super().parse_args(ctx, args)
        except BrokenPipeError:
            # Of `mprun --help | head -1`.
            ctx.exit(_NOBODY_READS)

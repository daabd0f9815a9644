"""The command that shows the help of mprun, or of one of its commands."""

from __future__ import annotations

from typing import cast

import click

from mprun.cli.messages import print_text
from mprun.diagnostics import did_you_mean, quote
from mprun.errors import UsageError


@click.command()
@click.argument("command", required=False)
@click.pass_context
def help(context: click.Context, command: str | None) -> int:
    """Show the help of mprun, or of a command."""
    root = context.find_root()
    print_text(root.get_help() if command is None else _help_of(root, command))
    return 0


def _help_of(root: click.Context, name: str) -> str:
    commands = cast("click.Group", root.command).commands
    if name not in commands:
        remedy = did_you_mean(name, commands) or "see `mprun help`"
        raise UsageError(f"unknown command {quote(name)}; {remedy}")
    command = commands[name]
    with click.Context(command, info_name=name, parent=root) as context:
        return command.get_help(context)

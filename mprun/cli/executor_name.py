"""The type of click for the name of an executor."""

from __future__ import annotations

import click

from mprun.executors.base import EXECUTORS


class ExecutorName(click.Choice):  # type: ignore[type-arg]
    """One of `EXECUTORS`, or the import path of a class."""

    def convert(self, value: str, option: click.Parameter | None, context: click.Context | None) -> str:
        is_elsewhere = ":" not in value and EXECUTORS[super().convert(value, option, context)]
        # Nothing is to begin while a shell completes the words.
        if is_elsewhere and context and not context.resilient_parsing:
            # Few runs leave this machine.
            from mprun.cli.hosts import begin

            begin(context, value)
        return value

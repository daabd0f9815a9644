"""The type of click for the name of an executor."""

from __future__ import annotations

import click


class ExecutorName(click.Choice):  # type: ignore[type-arg]
    """One of the choices, or the import path of a class."""

    def convert(self, value: str, option: click.Parameter | None, context: click.Context | None) -> str:
        return value if ":" in value else super().convert(value, option, context)

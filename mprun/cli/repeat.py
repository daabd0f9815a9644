"""The options that repeat tasks: what goes together, and the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.cli.option import click_context
from mprun.engine.repeat import random_seed
from mprun.errors import UsageError

if TYPE_CHECKING:
    from typing import Any


def draw_seed(planning: dict[str, Any]) -> None:
    """Draw a seed for a run that repeats tasks, if none is given, so that the record has it.

    Raises UsageError for options that do not go together.
    """
    if planning["repeat"] and planning["repeat_for"]:
        raise UsageError("`--repeat` and `--repeat-for` both say how long to repeat; use one of them")
    if not (planning["repeat"] or planning["repeat_for"] or planning["until_failure"]):
        context = click_context()
        source = context.get_parameter_source("seed") if context is not None else None
        if source is None or source.name == "COMMANDLINE":
            raise UsageError("`--seed` needs `--repeat`, `--repeat-for` or `--until-failure`")
        # MPRUN_SEED is for the runs that repeat something.
        planning["seed"] = None
    elif planning["seed"] is None:
        planning["seed"] = random_seed()

"""Refuses values that no plan can have, given from Python; the command line checks its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mprun.diagnostics import did_you_mean, quote
from mprun.errors import UsageError
from mprun.jobfile.model import FLAKY_POLICIES, START_METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The arguments of `mprun.plan_job`, by what they must be. None means the value of the job.
_INTEGERS = {"max_parallel": 1, "repeat": 1, "seed": 0}
_SECONDS = ("timeout", "repeat_for")
_CHOICES = {"start_method": START_METHODS, "flaky": FLAKY_POLICIES}
_LISTS = ("names", "tags")


def check_plan_arguments(arguments: Mapping[str, object]) -> None:
    """Raises UsageError for the first of the arguments that is not what it must be."""
    for name, value in arguments.items():
        if value is not None and (expected := _expected(name, value)):
            hint = _hint(name, value)
            raise UsageError(f"`{name}` must be {expected}, not {quote(repr(value))}{hint}")


def _expected(name: str, value: object) -> str:
    """What the argument must be; empty if it is that."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if name in _INTEGERS:
        fits = number and isinstance(value, int) and value >= _INTEGERS[name]
        return "" if fits else f"an integer of at least {_INTEGERS[name]}"
    if name in _SECONDS:
        return "" if number and 0 < value < math.inf else "a number of seconds above 0"  # type: ignore[operator]
    if name in _CHOICES:
        return "" if value in _CHOICES[name] else "one of " + ", ".join(map(quote, _CHOICES[name]))
    # The letters of a text would be patterns, and match other tasks.
    if name in _LISTS and isinstance(value, (str, bytes)):
        return "a list of texts"
    return ""


def _hint(name: str, value: object) -> str:
    choices: Sequence[str] = _CHOICES.get(name, ())
    similar = did_you_mean(value, choices) if choices and isinstance(value, str) else ""
    return f"; {similar}" if similar else ""

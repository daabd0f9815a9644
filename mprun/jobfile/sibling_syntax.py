"""Splits a reference that selects an instance: `${tasks.fetch[${matrix.day}].result}`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.jobfile.invalid_references import SELECT

if TYPE_CHECKING:
    from collections.abc import Iterator

# The name of a task, the values that select one of its instances, and the path into its result.
_SIBLING = r"tasks\.([^\[\]{}$]+)\[(.+)\]\.result((?:\.[^.\[\]{}$]+)*)"
# A value of a selection, with or without the name of its axis.
_SELECTED = r"(?:\s*([^\W\d][\w-]*)=)?((?:[^,$]|\$(?!\{)|\$\{[^{}]*\})*)(?:,|\Z)"


class InvalidSelection(Exception):
    """What is wrong with a selection, and how to fix it."""

    def __init__(self, message: str, help: str) -> None:
        super().__init__(message)
        self.help = help


def split_selection(text: str) -> tuple[str, list[tuple[str, str]], tuple[str, ...]]:
    """The name of the task, the values that select its instance, and the path into the result.

    Each value has the name of its axis, which may be empty. Raises InvalidSelection.
    """
    match = re.fullmatch(_SIBLING, text, re.DOTALL)
    if match is not None:
        return match[1], list(_selected(match[2])), tuple(match[3].split(".")[1:])
    message = f"`${{{text[:60]}}}`: a reference may contain others only to select an instance of a task"
    help = SELECT
    if text.rpartition("]")[2].startswith(".outputs."):
        message = f"`${{{text[:60]}}}`: only instances with a result can be selected by a reference"
        help = "write its name out, such as `${tasks.NAME[KEY=1].outputs.NAME}`"
    raise InvalidSelection(message, help)


def _selected(text: str) -> Iterator[tuple[str, str]]:
    at, match_at = 0, re.compile(_SELECTED).match
    while at < len(text):
        match = match_at(text, at)
        if match is None or not match[2].strip():
            raise InvalidSelection(f"invalid selection `[{text[:60]}]`: a value is missing", "")
        yield match[1] or "", match[2].strip()
        at = match.end()

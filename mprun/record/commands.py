"""The commands and paths that messages suggest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.record.packed_path import is_packed
from mprun.record.state_dir import DEFAULT

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory


def command(directory: RunDirectory, *words: str) -> str:
    """A command of mprun about a run, with its state directory if that is not the default one here.

    Of a packed run, that is the file; it is resumed by the name of this file.
    """
    state_dir = os.path.dirname(os.path.dirname(_absolute(directory.path)))
    if state_dir != _absolute(DEFAULT):
        import shlex

        if words[:2] == ("resume", directory.run_id) and is_packed(state_dir):
            return " ".join(["mprun", "resume", shlex.quote(short_path(state_dir)), *words[2:]])
        words = (*words, "--state-dir", shlex.quote(short_path(state_dir)))
    return " ".join(["mprun", *words])


def short_path(path: str) -> str:
    """A path relative to the working directory, or the absolute one if that is shorter."""
    try:
        return min(os.path.relpath(path), os.path.abspath(path), key=len)
    except OSError:
        return path


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:
        # The working directory was removed, by a task perhaps: no path leads to what is below it.
        return path

"""Keeps what no one has read of what a run has shown: if its streams were blocked, no one could be told."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mprun.record.state_dir import RunDirectory

if TYPE_CHECKING:
    from mprun.record.state_files import StateFile

# Its name in the directory of the run. The record has its end before the last reader is given up.
NOT_SHOWN = "not-shown.txt"
_MAX_BYTES = 4096


def keep_not_shown(path: str, text: str) -> None:
    """Write down how many lines were not shown of the run that is recorded in the directory `path`."""
    # The directory may be gone, or its disk be full.
    with contextlib.suppress(OSError):
        file = _file(RunDirectory(path)).open(os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(file, f"{text}\n".encode())
        finally:
            os.close(file)


def read_not_shown(directory: RunDirectory) -> str:
    """How many lines of a run were not shown; empty if all were read, or that is unknown."""
    return _file(directory).read_end(_MAX_BYTES).decode("utf-8", "backslashreplace").strip()


def _file(directory: RunDirectory) -> StateFile:
    return directory.folder.file(NOT_SHOWN)

"""Which paths are those of packed runs, and which runs were in one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.record.moved_path import state_dir_of, was_copied

if TYPE_CHECKING:
    from mprun.record.events import RunStarted
    from mprun.record.state_dir import RunDirectory

# How the name of a packed run ends, and no run id does.
PACKED = ".zip"
# A run that was unpacked into its state directory has the path of the packed run in this file.
_ORIGIN = "unpacked-from.txt"


def is_packed(path: str) -> bool:
    """Whether a path is that of a packed run, and not of a state directory."""
    return path.lower().endswith(PACKED) and not os.path.isdir(path)


def packed_in(directory: RunDirectory) -> str:
    """The packed run in which a run is; empty for a run of a state directory."""
    file = os.path.dirname(os.path.dirname(directory.path))
    return file if is_packed(file) else ""


def ran_elsewhere(directory: RunDirectory, started: RunStarted) -> bool:
    """Whether a run is in a packed run, or was, or its state directory was copied or moved since.

    It was in one if it was unpacked into its state directory, or merged there.
    """
    return was_packed(directory) or was_copied(started.state_dir, state_dir_of(directory))


def was_packed(directory: RunDirectory) -> bool:
    """Whether a run is in a packed run, or was."""
    return bool(packed_in(directory)) or directory.folder.file(_ORIGIN).exists()


def write_origin(directory: RunDirectory, packed: str) -> None:
    """Write down that a run ran elsewhere, and was in this packed run. Raises OSError."""
    with open(directory.folder.open(_ORIGIN, os.O_WRONLY | os.O_CREAT), "wb") as stream:
        stream.write(os.fsencode(os.path.abspath(packed)) + b"\n")

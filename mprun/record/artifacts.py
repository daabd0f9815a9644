"""What tasks have left in the record on purpose, in their directories for artifacts."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from mprun.record.state_dir import ARTIFACTS, UnusableDirectory, file_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


def artifacts_by_task(directory: RunDirectory, state: RunState) -> dict[str, str]:
    """The absolute paths of the directories that are not empty, by the name of the task, in their order."""
    kept = artifacts(directory)
    if not kept:
        # Most runs: no name has to be made of that of a task.
        return {}
    names = {name: file_name(name) for name in state.known_names()}
    return {name: os.path.abspath(kept[file]) for name, file in names.items() if file in kept}


def make_artifacts(directory: RunDirectory, task: str) -> None:
    """Create the directory for a task's artifacts. Raises UnusableDirectory."""
    try:
        made = directory.folder.make(ARTIFACTS).make(file_name(task))
        # A task may have put a link there, to have files written somewhere else.
        made.require()
        made.close()
    except OSError as error:
        raise UnusableDirectory(f"no directory for its artifacts: {error.strerror or error}") from None


def artifacts(directory: RunDirectory) -> Mapping[str, str]:
    """The paths of the directories for artifacts that are not empty, by the task's name in file names.

    What is in them is the tasks' own: no name of it is read, and no link followed.
    """
    found = {}
    folder = directory.folder.folder(ARTIFACTS)
    with contextlib.suppress(OSError):
        for name in folder.names():
            with contextlib.suppress(OSError):
                of_task = folder.folder(name)
                if not of_task.is_empty():
                    found[name] = of_task.path
                of_task.close()
    folder.close()
    return found

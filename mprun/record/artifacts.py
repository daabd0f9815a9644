"""What tasks have left in the record on purpose, in their directories for artifacts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.record.state_dir import file_name

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


def artifacts_by_task(directory: RunDirectory, state: RunState) -> dict[str, str]:
    """The absolute paths of the directories that are not empty, by the name of the task, in their order."""
    kept = directory.artifacts()
    if not kept:
        # Most runs: no name has to be made of that of a task.
        return {}
    names = {name: file_name(name) for name in state.known_names()}
    return {name: os.path.abspath(kept[file]) for name, file in names.items() if file in kept}

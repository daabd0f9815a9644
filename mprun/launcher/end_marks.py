"""Shares the end marks of tasks with processes that the launcher does not fork; what a missing mark means.

`mark_end` in `mprun.launcher.worker` makes the marks. A job whose tasks are all forks, and all come to their
end, does not need this module.
"""

from __future__ import annotations

import os

from mprun.launcher import fork, worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mprun.launcher.channel import AttemptKey

# Why an attempt has not succeeded, although its exit code is 0.
BEFORE_RETURN = "it ended before its target returned"
BEFORE_END = "it ended after its target returned, before its threads and exit handlers did"

# The descriptor of the memory.
_file: list[int] = []


def create() -> None:
    """Create the memory for the marks, before the first task is started; without it no task makes any."""
    try:
        file = worker.create_memory_file("mprun-marks")
    except OSError:
        return
    try:
        os.truncate(file, 2 * worker.MARKS)
    except OSError:
        return os.close(file)
    worker.map_marks(file)
    _file.append(file)
    fork.private_descriptors.add(file)


class InheritedMarks:
    """Maps the marks in the process that receives this object, pickled."""

    def __reduce__(self) -> Any:
        from multiprocessing import reduction

        if not _file:
            return type(None), ()
        return worker.map_inherited_marks, (reduction.DupFd(_file[0]),)


def why_unmarked(key: AttemptKey) -> str:
    """Why an attempt of a target with exit code 0 has not marked its end."""
    return BEFORE_END if worker.is_marked(key, worker.MARKS) else BEFORE_RETURN

"""Finds where a file is here that a run has read elsewhere: in another checkout, or on another machine.

A state directory that was copied or moved with the project around it, as by CI services, has its job files
at the same paths from it as before. So this does not depend on what else is on a machine.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from mprun.record.events import RunStarted
    from mprun.record.state_dir import RunDirectory


def path_here(path: Any, recorded: object, state_dir: str) -> Any:
    """The path here of a file that a record names; `state_dir` is the state directory that has the record.

    `recorded` is the one in which the run was recorded, None if its record does not say. Both are absolute.
    What is not an absolute path is returned as it is.
    """
    if not isinstance(path, str) or not path.startswith("/") or not was_copied(recorded, state_dir):
        return path
    try:
        return path_in(state_dir, path, str(recorded))
    except ValueError:
        # A record may have any text in place of a path.
        return path


def was_copied(recorded: object, state_dir: str) -> bool:
    """Whether a record in a state directory says that it was written in another one, as for `path_here`."""
    return isinstance(recorded, str) and recorded.startswith("/") and not _is_same(recorded, state_dir)


def started_here(started: RunStarted, state_dir: str) -> RunStarted:
    """The start of a run with the paths here of the files that it has read, as `path_here`."""
    if not was_copied(started.state_dir, state_dir):
        return started
    # Another program may have written the record.
    files: Any = started.files
    return started.replace(
        file=path_here(started.file, started.state_dir, state_dir),
        files=tuple(file_here(one, started.state_dir, state_dir) for one in files)
        if isinstance(files, list | tuple)
        else (),
    )


def file_here(file: Any, recorded: object, state_dir: str) -> Any:
    """The entry of a file that a run has read, as in `files` of its record, with its path here."""
    return (
        {**file, "path": path_here(file.get("path"), recorded, state_dir)} if isinstance(file, dict) else file
    )


def state_dir_of(directory: RunDirectory) -> str:
    """The absolute path of the state directory with a run, or of the packed run in its place."""
    return os.path.dirname(os.path.dirname(os.path.abspath(directory.path)))


def path_in(new: str, path: str, old: str) -> str:
    """The path that is in the directory `new` what another one is in `old`. Raises ValueError for no path."""
    return os.path.normpath(os.path.join(new, os.path.relpath(os.path.join(old, path), old)))


@lru_cache(maxsize=64)
def _is_same(one: str, other: str) -> bool:
    """Whether two paths are those of one directory, also by a link."""
    try:
        return one == other or os.path.realpath(one) == os.path.realpath(other)
    except ValueError:
        # A record may have any text in place of a path: so it does not say that it was copied.
        return True

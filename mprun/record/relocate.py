"""Finds the files that a run has read in another checkout of the same content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.record.moved_path import path_in
from mprun.record.resume import content_hash

if TYPE_CHECKING:
    from mprun.record.events import RunStarted


def relocated(started: RunStarted, cwd: str) -> RunStarted:
    """The start of a run as in the directory `cwd`, if all that it read is there.

    Each agent of a CI service may have its checkout elsewhere, also on one machine.
    """
    if started.cwd in (None, cwd) or started.file == STANDARD_INPUT_PATH or not started.files:
        return started
    try:
        moved = [_moved(file, str(started.cwd), cwd) for file in started.files]
        path = path_in(cwd, started.file, str(started.cwd))
    except ValueError:
        # A record may have any text in place of a path.
        return started
    if not all(map(_is_same, moved)):
        return started
    return started.replace(file=path, files=tuple(moved), cwd=cwd)


def _moved(file: Any, old: str, new: str) -> Any:
    if not isinstance(file, dict) or not isinstance(file.get("path"), str):
        return None
    return {**file, "path": path_in(new, file["path"], old)}


def _is_same(file: Any) -> bool:
    return isinstance(file, dict) and content_hash(str(file.get("path"))) == file.get("sha256")

"""Gives a merged run the logs, results and artifacts of the tasks that count in each shard."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from mprun.record.state_dir import ARTIFACTS, MAIN_LOG, attempt_name, file_name
from mprun.record.state_files import NotOurs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.shards import ShardRun
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import Folder

# Directories of artifacts are copied so deep.
_MAX_DEPTH = 50


def copy_files(shard: ShardRun, names: set[str], into: RunDirectory) -> None:
    """Give the merged run the logs, results and artifacts of the tasks that count in this shard."""
    old = shard.directory
    wanted: set[str] = set()
    for name in names:
        task = shard.state.tasks[name]
        attempts = {one.started.attempt for one in task.attempts}
        last = task.finished.attempts if task.finished is not None else len(attempts) + 1
        wanted.update(attempt_name(name, attempt) for attempt in (*attempts, last))
    for source, target in ((old.logs, into.logs), (old.results, into.results)):
        for entry in _names(source):
            if any(entry[:place] in wanted for place in _dots(entry)):
                _give(source, entry, target)
    if text := old.read_main_log():
        log = into.logs.open(MAIN_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        head = f"== {shard.where}\n".encode("utf-8", "backslashreplace")
        os.write(log, head + text.removesuffix(b"\n") + b"\n")
        os.close(log)
    kept = old.folder.folder(ARTIFACTS)
    files = {file_name(name) for name in names}
    for entry in _names(kept):
        if entry in files and stat.S_ISDIR(kept.stat(entry).st_mode):
            _copy_tree(kept.folder(entry), into.folder.make(ARTIFACTS).make(entry), _MAX_DEPTH)


def _names(folder: Folder) -> list[str]:
    try:
        return folder.names()
    except OSError:
        return []


def _dots(name: str) -> Iterator[int]:
    place = name.find(".")
    while place >= 0:
        yield place
        place = name.find(".", place + 1)


def _give(source: Folder, entry: str, target: Folder) -> None:
    """Give a file to another directory, not what a link leads to."""
    # What is not a file of ours is left out: it would not be read in the shard either.
    with contextlib.suppress(NotOurs, FileNotFoundError, FileExistsError):
        source.file(entry).give_to(target)


def _copy_tree(source: Folder, target: Folder, depth: int) -> None:
    """Copy the files in a directory of artifacts, and those below it; links and the like are left out."""
    for entry in _names(source) if depth else ():
        mode = source.stat(entry).st_mode
        if stat.S_ISDIR(mode):
            below, copy = source.folder(entry), target.make(entry)
            _copy_tree(below, copy, depth - 1)
            below.close()
            copy.close()
        elif stat.S_ISREG(mode):
            _give(source, entry, target)

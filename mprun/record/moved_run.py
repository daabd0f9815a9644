"""Makes a packed run one of this machine, so that it can be resumed in another directory than its own."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import RecordError, UsageError
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.restriction import work_tree
from mprun.record.moved_path import path_here, path_in, state_dir_of
from mprun.record.packaged_files import with_packages_here
from mprun.record.packed_path import packed_in, was_packed, write_origin
from mprun.record.packed_run import RUNS, NotUnpacked, at_the_end, unpack
from mprun.record.resume import content_hash
from mprun.record.run_list import list_runs
from mprun.record.state_dir import RunDirectory, create_state
from mprun.record.state_files import Folder

if TYPE_CHECKING:
    from mprun.record.events import RunStarted

_BLOCK_SIZE = 1 << 20
# How the directories are called in which runs are unpacked, in a state directory.
_STAGED = "unpacking-"


def find_adopted(packed: RunDirectory, state_dir: str) -> RunDirectory | None:
    """The run of a state directory that is the packed one; None if it has none.

    Raises UsageError if it has another run of this id, and as `list_runs`.
    """
    for directory in list_runs(state_dir, to_read=False):
        if directory.run_id == packed.run_id:
            if not _is_same(packed, directory):
                raise UsageError(
                    f"{state_dir} has another record of run {packed.run_id} than {quote(packed_in(packed))}; "
                    "resume that by its id, or use `--state-dir DIR` to resume the packed one"
                )
            return directory
    return None


def _is_same(one: RunDirectory, other: RunDirectory) -> bool:
    """Whether two runs have the same record."""
    with open(one.open_events(), "rb") as first, open(other.open_events(), "rb") as second:
        while (data := first.read(_BLOCK_SIZE)) == second.read(_BLOCK_SIZE):
            if not data:
                return True
    return False


def adopt(packed: RunDirectory, state_dir: str) -> RunDirectory:
    """Unpack a packed run, and those that it resumed, into a state directory; its directory there.

    Raises RecordError if the state directory cannot be written, and UsageError as `find_adopted`.
    """
    file = packed_in(packed)
    state = Folder(os.path.abspath(state_dir))
    name = f"{_STAGED}{os.urandom(4).hex()}"
    try:
        create_state(state)
        _remove_abandoned(state)
        runs = state.make(RUNS)
        runs.require()
        staged = state.make(name)
        with at_the_end(lambda: state.remove(name)):
            for run_id in reversed(unpack(file, staged)):
                unpacked = staged.folder(RUNS)
                write_origin(RunDirectory(f"{unpacked.path}/{run_id}", unpacked), file)
                if run_id not in runs.names():
                    unpacked.rename(run_id, run_id, runs)
    except (OSError, NotUnpacked) as error:
        raise RecordError(
            f"{quote(file)} cannot be unpacked into {state_dir}: {error.strerror}; use `--state-dir` to name "
            "another directory"
        ) from None
    adopted = find_adopted(packed, state_dir)
    if adopted is None:
        raise RecordError(f"{quote(file)} was changed while it was read; try again")
    return adopted


def _remove_abandoned(state: Folder) -> None:
    """Remove what a command left that was killed while it unpacked; until this one ends, no other unpacks."""
    try:
        fcntl.flock(state.descriptor, fcntl.LOCK_EX)
    except OSError:
        # The file system has no locks, so it may be that of a command that runs.
        return
    for name in state.names():
        if name.startswith(_STAGED):
            state.remove(name)


def is_where_it_was(directory: RunDirectory, started: RunStarted) -> bool:
    """Whether only the record of a run was moved: its job file is where it was, and not in this directory."""
    if was_packed(directory) or started.cwd is None or content_hash(started.file) is None:
        return False
    copied = path_here(started.file, started.state_dir, state_dir_of(directory))
    if copied != started.file and content_hash(copied) is not None:
        # The project was copied with it: what is in the other one is not meant.
        return False
    try:
        return content_hash(path_in(os.getcwd(), started.file, started.cwd)) is None
    except ValueError:
        return True


def here(run_id: str, started: RunStarted) -> RunStarted:
    """The start of a run as if it had run in the present directory: its files are looked for there.

    Each has the path from it that it had from the directory in which the run ran. Only files below the
    present directory, or in the same git work tree, are meant: a record may name any. Raises UsageError
    if the job file is not one of them.
    """
    if started.file == STANDARD_INPUT_PATH:
        return started
    started = with_packages_here(started)
    there, cwd = started.cwd or os.path.dirname(started.file), os.getcwd()
    allowed = os.path.realpath(work_tree(cwd) or cwd)

    def is_allowed(path: str) -> bool:
        return os.path.commonpath((os.path.realpath(path), allowed)) == allowed

    try:
        # Where a package is does not depend on the present directory.
        packaged = {one.get("path") for one in started.files if "package" in one}
        file = started.file if started.file in packaged else path_in(cwd, started.file, there)
        is_here = started.file in packaged or is_allowed(file)
        paths = [str(one.get("path", "")) for one in started.files]
        moved = [path_in(cwd, path, there) for path in paths]
        files = tuple(
            {**one, "path": new if is_allowed(new) and old not in packaged else old}
            for one, old, new in zip(started.files, paths, moved, strict=True)
        )
    except (AttributeError, TypeError, ValueError):
        raise UsageError(
            f"run {run_id} cannot be resumed: its record has no paths of files; run the job anew"
        ) from None
    if not is_here:
        raise UsageError(
            f"the job file of run {run_id} is outside of the directory in which it is looked for, "
            f"{quote(allowed)}: from here it is {quote(os.path.realpath(file))}; "
            f"change to the directory that corresponds to {quote(there)}, or run the job anew"
        )
    return started.replace(file=file, files=files, cwd=cwd)

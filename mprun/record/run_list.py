"""The runs of a state directory, and the one that a user means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.record.commands import shell_word
from mprun.record.packed_path import is_packed
from mprun.record.state_dir import RunDirectory
from mprun.record.state_files import Folder, NotOurs

if TYPE_CHECKING:
    from collections.abc import Iterator


def _packed(path: str, *, to_read: bool) -> list[RunDirectory]:
    if not to_read:
        raise UsageError(
            f"the packed run {quote(path)} is only read; to run its tasks again, use `mprun resume FILE.zip`"
        )
    # Few commands read one.
    from mprun.record.packed_run import packed_runs

    return packed_runs(path)


def list_runs(state_dir: str, *, to_read: bool = True) -> Iterator[RunDirectory]:
    """The runs of a state directory, newest first.

    Raises UsageError if it cannot be read, or is not a directory that only this user can write
    to. Only `to_read`, root may use that of another user: not to signal, change or remove something.
    In place of a state directory, a packed run may be read.
    """
    if is_packed(state_dir):
        yield from _packed(state_dir, to_read=to_read)
        return
    runs = Folder(os.path.abspath(state_dir), to_read=to_read).folder("runs")
    try:
        names = runs.names()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(state_dir, error) from None
    for name in sorted(names, reverse=True):
        directory = RunDirectory(os.path.join(state_dir, "runs", name), runs)
        if directory.has_record():
            yield directory


def _refusal(state_dir: str, error: OSError) -> UsageError:
    """The error for a state directory that cannot be used, with a remedy."""
    if isinstance(error, NotOurs):
        return UsageError(f"the state directory {state_dir} is not used: {error.strerror}; {error.remedy}")
    return UsageError(f"the state directory {state_dir} cannot be read: {error.strerror}")


def find_run(state_dir: str, run: str | None, *, to_read: bool = True) -> RunDirectory:
    """The run with this id, or with the only id that begins with it; the newest run for None.

    It may also be the path of a packed run. Raises UsageError if there is no such run, or more than one,
    and as `list_runs`.
    """
    if run is not None and is_packed(run):
        return _packed(run, to_read=to_read)[0]
    known = list(list_runs(state_dir, to_read=to_read))
    if not known:
        raise UsageError(f"no runs in {state_dir} yet; start one with `mprun JOB`, or use `--state-dir`")
    if run is None:
        return known[0]
    found = [one for one in known if one.run_id == run] or [
        one for one in known if one.run_id.startswith(run)
    ]
    if len(found) != 1:
        runs_found = f"{len(found)} runs" if found else "no run"
        message = f"{runs_found} in {state_dir} with an id that begins with {quote(run)}"
        newest = known[0]
        if not found and _has_task(newest, run):
            word = shell_word(run)
            help = f"for the task of the newest run: `mprun logs {word}`; its attempts: `mprun show -v`"
            raise UsageError(f"{message}; {help}")
        raise UsageError(f"{message}; the newest run is {newest.run_id}")
    return found[0]


def _has_task(directory: RunDirectory, name: str) -> bool:
    """Whether a text that names no run names a task of this one, or a matrix, `foreach` or recipe."""
    # Few commands name a run that is not there.
    from mprun.errors import MprunError
    from mprun.record.reader import read_state

    try:
        names = read_state(directory)[0].known_names()
    except (MprunError, OSError):
        return False
    return any(one == name or one.startswith((f"{name}[", f"{name}/")) for one in names)

"""What a run that resumes another takes over from its record."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun import outcomes
from mprun.errors import UsageError
from mprun.loader import sha256
from mprun.plan import Carried
from mprun.problems import quote
from mprun.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mprun.state import RunState, TaskState
    from mprun.statedir import RunDirectory

# What to do with a task whose end nobody saw.
KEEP, RERUN = "keep", "rerun"
UNKNOWN_CHOICES = (KEEP, RERUN)


class Resumption(Value):
    """An earlier run, as far as the next one needs it: what is carried over, by the task's name."""

    directory: RunDirectory
    file: str
    params: dict[str, Any]
    options: dict[str, Any]
    carried: dict[str, Carried]


def resumption(directory: RunDirectory, state: RunState, unknown: str = KEEP) -> Resumption:
    """What of a run is carried over: what has succeeded, and what nobody knows the end of.

    That is run again only where `unknown` is `rerun`. Raises UsageError for a record that
    does not even tell which job it is of.
    """
    started = state.started
    if started is None:
        raise UsageError(f"the record of run {directory.run_id} has lost its beginning: it cannot be resumed")
    carried = {
        name: end
        for name, task in state.tasks.items()
        if (end := _carried(task, directory.run_id, unknown)) is not None
    }
    return Resumption(
        directory=directory,
        file=started.file,
        params=started.params,
        options=started.options,
        carried=carried,
    )


def _carried(task: TaskState, run_id: str, unknown: str) -> Carried | None:
    finished = task.finished
    if finished is not None and finished.outcome == outcomes.SUCCEEDED:
        return Carried(outcome=finished.outcome, attempts=finished.attempts, reason=finished.reason)
    lost = finished.outcome == outcomes.UNKNOWN if finished is not None else bool(task.attempts)
    if not lost or unknown == RERUN:
        return None
    attempts = finished.attempts if finished is not None else len(task.attempts)
    reason = f"nobody saw how it ended in run {run_id}; `--unknown {RERUN}` runs it again"
    return Carried(outcome=outcomes.UNKNOWN, attempts=attempts, reason=reason)


def changed_files(state: RunState) -> list[str]:
    """The files of the run that are not as they were when it read them, or not there any more."""
    files: tuple[Mapping[str, str], ...] = state.started.files if state.started is not None else ()
    return [file["path"] for file in files if _sha256(file.get("path", "")) != file.get("sha256")]


def _sha256(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return str(sha256(file.read()).hexdigest())
    except OSError:
        return None


def refuse_change(paths: list[str]) -> None:
    """Raise UsageError where files have changed since the run that is to be resumed."""
    if paths:
        names = ", ".join(map(quote, paths))
        raise UsageError(
            f"{names} changed since that run: what succeeded then may not be what it is now; "
            "`--allow-changed` resumes it all the same"
        )


def adopt_results(old: RunDirectory, new: RunDirectory, carried: Mapping[str, Carried]) -> None:
    """Give a run the results of what is carried over, as if it had them itself."""
    for name, end in carried.items():
        for suffix in (".json", ".repr"):
            source, place = old.result(name, end.attempts) + suffix, new.result(name, end.attempts) + suffix
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                try:
                    os.link(source, place)
                except OSError:
                    # Another file system, or one without links.
                    import shutil

                    shutil.copyfile(source, place)
                    os.chmod(place, 0o600)

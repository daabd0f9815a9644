"""What a run that resumes another takes over from its record."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.errors import RecordError, UsageError
from mprun.frozen import Frozen
from mprun.jobfile.syntax.document import sha256
from mprun.outcomes import Outcome
from mprun.record.reader import read_state
from mprun.record.recovery import has_started, infer_outcome
from mprun.record.state_dir import RunDirectory, is_run_id
from mprun.scheduling.plan import Reused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mprun.jobfile.model import Job
    from mprun.record.run_state import RunState, TaskState

# Of the files of a result.
_SUFFIXES = (".json", ".repr")


class Resumption(Frozen):
    """An earlier run, as far as the next one needs it: what is reused, by the task's name.

    `line` is this run and those that it goes back to, newest first; `told` are the names of
    the tasks of which these tell what became.
    """

    directory: RunDirectory
    file: str
    params: dict[str, Any]
    options: dict[str, Any]
    reused: dict[str, Reused]
    line: tuple[RunDirectory, ...]
    told: frozenset[str]


def resumption(directory: RunDirectory, state: RunState, *, rerun_unknown: bool = False) -> Resumption:
    """What of a run is reused: tasks that succeeded, and tasks whose exit status is unknown.

    The latter run again with `rerun_unknown`. Raises UsageError for a record that has lost
    its beginning, which names the job.
    """
    started = state.started
    if started is None:
        raise UsageError(
            f"the record of run {directory.run_id} has lost its beginning: it cannot be resumed; "
            "`mprun runs` lists the others"
        )
    reused: dict[str, Reused] = {}
    told: set[str] = set()
    line = list(_ancestors(directory, state))
    for before, its_state in line:
        for name, task in its_state.tasks.items():
            if name not in told and (end := _end(before, task)).outcome != Outcome.CANCELLED:
                told.add(name)
                if _is_reused(directory, task, end, rerun_unknown):
                    reused[name] = end
    return Resumption(
        directory=directory,
        file=started.file,
        params=started.params,
        options=started.options,
        reused=reused,
        line=tuple(before for before, _ in line),
        told=frozenset(told),
    )


def _ancestors(directory: RunDirectory, state: RunState) -> Iterator[tuple[RunDirectory, RunState]]:
    """The run itself, the one that it resumed, and so on.

    One that was killed, or stopped, soon after its start has not told the ends of all that
    it was not to run again: those that come about on the way, those it had no time for.
    """
    yield directory, state
    seen = {directory.run_id}
    while state.started is not None and (name := state.started.resumed_from) is not None:
        directory = RunDirectory(os.path.join(os.path.dirname(directory.path), name))
        if name in seen or not is_run_id(name) or not os.path.exists(directory.events):
            return
        seen.add(name)
        state, _ = read_state(directory)
        yield directory, state


def _end(directory: RunDirectory, task: TaskState) -> Reused:
    finished = task.finished
    if finished is None:
        outcome, reason, attempts = infer_outcome(directory, task)
    else:
        outcome, reason, attempts = finished.outcome, finished.reason, finished.attempts
    if outcome == Outcome.UNKNOWN and not (finished is not None and finished.reused):
        reason = _unknown(directory)
    return Reused(outcome=outcome, attempts=attempts, reason=reason)


def _unknown(directory: RunDirectory) -> str:
    return f"exit status unknown in run {directory.run_id}; `--rerun-unknown` runs it again"


def _is_reused(directory: RunDirectory, task: TaskState, end: Reused, rerun_unknown: bool) -> bool:
    if end.outcome != Outcome.SUCCEEDED:
        return end.outcome == Outcome.UNKNOWN and not rerun_unknown
    if task.finished is None or task.finished.result_kind == "none" or not end.attempts:
        return True
    # A result that is gone is not made up: the task runs again.
    return any(os.path.exists(directory.result(task.name, end.attempts) + suffix) for suffix in _SUFFIXES)


def with_unrecorded(earlier: Resumption, job: Job) -> Resumption:
    """The same, with the tasks that had begun when the engine was killed before it could record that."""
    found = dict(earlier.reused)
    for directory in earlier.line:
        for name in _candidates(directory, job, len(earlier.told)):
            if name not in earlier.told and name not in found and has_started(directory, name, 1):
                found[name] = Reused(outcome=Outcome.UNKNOWN, attempts=1, reason=_unknown(directory))
    return earlier.replace(reused=found)


def _candidates(directory: RunDirectory, job: Job, told: int) -> Iterator[str]:
    """The names of all tasks that may have begun, also of those that came about on the way."""
    try:
        most = len(os.listdir(os.path.dirname(directory.log("", 1)))) + told
    except OSError:
        return
    for instance in job.tasks:
        yield instance.name
        if instance.task.foreach is not None:
            yield from (f"{instance.name}[{number}]" for number in range(most))


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


def adopt_results(old: RunDirectory, new: RunDirectory, reused: Mapping[str, Reused]) -> None:
    """Give a run the results of what is reused, as if it had them itself.

    Raises RecordError where they cannot be written.
    """
    try:
        for name, end in reused.items():
            for suffix in _SUFFIXES:
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    _adopt(old.result(name, end.attempts) + suffix, new.result(name, end.attempts) + suffix)
    except OSError as error:
        raise RecordError(f"the results of run {old.run_id} cannot be taken over: {error.strerror}") from None


def _adopt(source: str, place: str) -> None:
    try:
        os.link(source, place)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        # Another file system, or one without links.
        import shutil

        shutil.copyfile(source, place)
        os.chmod(place, 0o600)

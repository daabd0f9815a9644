"""What a run that resumes an earlier one reuses of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.jobfile.syntax.document import MAX_BYTES, sha256
from mprun.jobfile.text_file import NotRegular, read_bytes
from mprun.outcomes import Outcome
from mprun.record import results
from mprun.record.begun_logs import find_begun_logs
from mprun.record.commands import command, short_path
from mprun.record.packed_path import ran_elsewhere
from mprun.record.reader import read_state
from mprun.record.recovery import infer_outcome
from mprun.record.state_dir import RunDirectory, is_run_id, log_name
from mprun.scheduling.plan import Reused
from mprun.scheduling.retry import FAILURES, FLAKY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mprun.jobfile.model import Job
    from mprun.record.events import RunStarted
    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState


class EarlierRun(Frozen):
    """A run that is resumed: its job, and by task name the outcomes that are reused.

    `skipped` are the names of those that were skipped.

    `lineage` is this run, the run that it resumed, and so on, newest first; `known_tasks` are the names
    of the tasks whose outcome one of them has recorded, `failed` those that failed, timed out or were
    stopped. `cwd` is the directory in which the run ran, None if its record does not say. A run that
    `is_from_elsewhere` was recorded on another machine, or in another checkout.
    """

    directory: RunDirectory
    file: str
    cwd: str | None
    params: dict[str, Any]
    options: dict[str, Any]
    reused: dict[str, Reused]
    lineage: tuple[RunDirectory, ...]
    known_tasks: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str] = frozenset()
    is_from_elsewhere: bool = False


def read_earlier_run(directory: RunDirectory, state: RunState, *, rerun_unknown: bool = False) -> EarlierRun:
    """A run that is to be resumed. Tasks that succeeded are reused, and tasks whose outcome is unknown.

    The latter run again with `rerun_unknown`. Raises UsageError for a record that has lost
    its beginning, which names the job.
    """
    started = state.started
    if started is None:
        raise UsageError(
            f"the record of run {directory.run_id} has lost its beginning, so it cannot be resumed; "
            f"`{command(directory, 'runs')}` lists the others"
        )
    if started.file == STANDARD_INPUT_PATH:
        raise UsageError(
            f"run {directory.run_id} read its job from standard input, which is not kept, so it cannot be "
            "resumed; only a run of a job file can be"
        )
    reused: dict[str, Reused] = {}
    known_tasks: set[str] = set()
    failed: set[str] = set()
    skipped: set[str] = set()
    lineage = list(read_lineage(directory, state))
    for earlier, earlier_state in lineage:
        begun = find_begun_logs(earlier.logs)
        for name, task in earlier_state.tasks.items():
            if name in known_tasks:
                continue
            last = _last_outcome(earlier, begun, task)
            if last.outcome == Outcome.CANCELLED:
                continue
            known_tasks.add(name)
            if last.outcome in (*FAILURES, Outcome.STOPPED):
                failed.add(name)
            elif last.outcome == Outcome.SKIPPED:
                skipped.add(name)
            if _is_reused(directory, task, last, rerun_unknown):
                reused[name] = last
    return EarlierRun(
        directory=directory,
        file=started.file,
        cwd=started.cwd,
        params=started.params,
        options=started.options,
        reused=reused,
        lineage=tuple(earlier for earlier, _ in lineage),
        known_tasks=frozenset(known_tasks),
        failed=frozenset(failed),
        skipped=frozenset(skipped),
        is_from_elsewhere=ran_elsewhere(directory, started),
    )


def read_lineage(directory: RunDirectory, state: RunState) -> Iterator[tuple[RunDirectory, RunState]]:
    """The run itself, the run that it resumed, and so on.

    All are needed: a resumed run that was killed or stopped soon after its start has not recorded
    every outcome that it reuses, such as those of the tasks of a `foreach`.
    """
    yield directory, state
    seen = {directory.run_id}
    while state.started is not None and (name := state.started.resumed_from) is not None:
        directory = directory.beside(name)
        if name in seen or not is_run_id(name) or not directory.has_record():
            return
        seen.add(name)
        state, _ = read_state(directory)
        yield directory, state


def _last_outcome(directory: RunDirectory, begun: frozenset[str], task: TaskState) -> Reused:
    finished = task.finished
    if finished is None:
        outcome, reason, attempts = infer_outcome(begun, task)
    else:
        outcome, reason, attempts = finished.outcome, finished.reason, finished.attempts
    if outcome == Outcome.UNKNOWN and not (finished is not None and finished.reused):
        reason = _unknown_reason(directory)
    return Reused(outcome=outcome, attempts=attempts, reason=reason)


def _unknown_reason(directory: RunDirectory) -> str:
    return f"exit status unknown in run {directory.run_id}; `--rerun-unknown` runs it again"


def _is_reused(directory: RunDirectory, task: TaskState, last: Reused, rerun_unknown: bool) -> bool:
    if last.outcome != Outcome.SUCCEEDED:
        return last.outcome == Outcome.UNKNOWN and not rerun_unknown
    if last.reason == FLAKY:
        # The run failed because of it.
        return False
    if task.finished is None or task.finished.result_kind == "none" or not last.attempts:
        return True
    # Without its result, the task runs again.
    files = directory.result_files(task.name, last.attempts)
    return any(file.exists() and not file.flaw() for file in map(files.with_suffix, results.RESULT_SUFFIXES))


def with_unrecorded(earlier: EarlierRun, job: Job) -> EarlierRun:
    """The same, with the tasks that had started when the engine was killed before it could record that."""
    reused = dict(earlier.reused)
    for directory in earlier.lineage:
        begun = find_begun_logs(directory.logs)
        for name in _candidates(begun, job, len(earlier.known_tasks)):
            if name not in earlier.known_tasks and name not in reused and log_name(name, 1) in begun:
                reason = _unknown_reason(directory)
                reused[name] = Reused(outcome=Outcome.UNKNOWN, attempts=1, reason=reason)
    return earlier.replace(reused=reused)


def _candidates(begun: frozenset[str], job: Job, known: int) -> Iterator[str]:
    """The names of all tasks that may have started, with those of each `foreach`.

    `known` is the number of tasks that are known. With the number of logs it limits the length of a list.
    """
    for instance in job.tasks:
        yield instance.name
        if instance.task.foreach is not None:
            yield from (f"{instance.name}[{number}]" for number in range(len(begun) + known))
            # Of a matrix from a result, the names are known if they are those of files.
            start, end = f"{instance.name}[", ".1.log"
            yield from (log.removesuffix(end) for log in begun if log.startswith(start) and log.endswith(end))


class FileChanges(Frozen):
    """The files of a run that have changed since it read them, and those that are gone."""

    changed: tuple[str, ...]
    gone: tuple[str, ...]


def file_changes(started: RunStarted | None) -> FileChanges:
    """What has become of the files that a run has read: the job file, recipes, env files."""
    files: tuple[Mapping[str, str], ...] = started.files if started is not None else ()
    hashes = {
        file.get("path", ""): (file.get("sha256"), content_hash(file.get("path", ""))) for file in files
    }
    return FileChanges(
        changed=tuple(path for path, (then, now) in hashes.items() if now is not None and now != then),
        gone=tuple(path for path, (_, now) in hashes.items() if now is None),
    )


def content_hash(path: str) -> str | None:
    """The hash of a file that a record names; None if it is gone. It may be anything by now."""
    try:
        return str(sha256(read_bytes(path, MAX_BYTES)).hexdigest())
    except NotRegular:
        return "not a regular file"
    except UsageError:
        return None


def refusals(earlier: EarlierRun, changes: FileChanges, *, allow_changed: bool) -> Iterator[str]:
    """Why a run cannot be resumed as it is: a message for each reason, with a remedy."""
    run_id = earlier.directory.run_id
    is_from_elsewhere = earlier.is_from_elsewhere
    if earlier.file in changes.gone and is_from_elsewhere:
        yield (
            f"the job file of run {run_id} is not in this directory: {quote(short_path(earlier.file))}; "
            "change to the directory that has it, such as a checkout of what that run has run"
        )
    elif earlier.file in changes.gone:
        yield (
            f"the job file of run {run_id} is not there any more: {quote(earlier.file)}; put it back, "
            "or run the job anew from where it is now"
        )
    if earlier.cwd is not None and not os.path.isdir(earlier.cwd):
        yield (
            f"run {run_id} ran in a directory that is not there any more: {quote(earlier.cwd)}; "
            "create it, or run the job anew"
        )
    if allow_changed:
        return
    if others := [path for path in changes.gone if path != earlier.file]:
        yield (
            f"{_names(others)} {'is' if len(others) == 1 else 'are'} not there any more, so the results of "
            f"run {run_id} may be out of date; put back what the job still reads, or use `--allow-changed`"
        )
    if changes.changed and is_from_elsewhere:
        yield (
            f"{_names(changes.changed)} {'is' if len(changes.changed) == 1 else 'are'} not the same as in "
            f"run {run_id}, so its results may be out of date; check out what that run has run, or use "
            "`--allow-changed` to resume it anyway"
        )
    elif changes.changed:
        yield (
            f"{_names(changes.changed)} changed since that run, so its results may be out of date; "
            "use `--allow-changed` to resume it anyway"
        )


def _names(paths: Sequence[str]) -> str:
    return ", ".join(map(quote, paths))

"""Recovery from a crash: kills what killed runs have left running, and completes their records.

When the engine and the launcher are killed in the same moment, tasks die by the parent-death
signal, but the processes that they have started do not. The next start in the same state
directory finds the pidfile of such a run. Processes that are provably part of the run are killed (see
`leftovers`); one that may be part of it is named, and left running. The proofs are Linux's, from /proc.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from mprun.clock import Clock
from mprun.errors import RecordError
from mprun.linux import procfs
from mprun.outcomes import MPRUN_KILLED, Outcome, format_exit
from mprun.record import events, lock
from mprun.record.begun_logs import find_begun_logs
from mprun.record.leftovers import Leftovers
from mprun.record.pidfile import PidFile, runs_of_others
from mprun.record.reader import read_unfinished
from mprun.record.recorder import Recorder
from mprun.record.run_state import RunState
from mprun.record.state_dir import RunDirectory, log_name
from mprun.scheduling.instructions import RECIPE_TIMEOUT, TIMEOUT
from mprun.scheduling.retry import RECIPE, RETRY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from mprun.record.owner import Owner
    from mprun.record.task_state import TaskState

# A warning names this many processes.
MAX_NAMED = 5

KILLED = f"{MPRUN_KILLED}; found at the next start"
EXIT_UNKNOWN = f"{MPRUN_KILLED}; exit status unknown"
NEVER_STARTED = f"{MPRUN_KILLED} before the task started"


def recover_killed_runs(directory: RunDirectory, warn: Callable[[str], None]) -> None:
    """Recover every killed run beside this one, with a warning about each, and about every failure."""
    for run_id in runs_of_others(directory):
        killed = directory.beside(run_id)
        try:
            text = _recover(PidFile(killed))
        except Exception as error:
            # Whatever another run has left there, this one starts.
            text = f"could not clean up killed run {run_id}: {error}"
        if text:
            warn(text)


def _recover(pidfile: PidFile) -> str:
    """Recover one run, unless it is active; the warning about it."""
    owner = pidfile.owner()
    if owner is None or owner.is_alive or not (owner.on_this_boot or owner.on_this_host):
        return ""
    if os.environ.get("MPRUN_RUN_ID") == pidfile.directory.run_id:
        # This process is part of it.
        return ""
    if not pidfile.directory.has_record():
        return _recover_unrecorded(pidfile, owner)
    try:
        recorder = Recorder(pidfile.directory)
    except RecordError:
        # It is active in a container that cannot be seen from here, or another start recovers it.
        return ""
    try:
        if not recorder.is_locked and not owner.has_ended:
            return ""
        return _complete(pidfile, owner, recorder)
    finally:
        recorder.close()


def _complete(pidfile: PidFile, owner: Owner, recorder: Recorder) -> str:
    """Kill what a killed run left, and complete its record; the warning about it."""
    state = read_unfinished(pidfile.directory)
    leftovers = _kill_leftovers(pidfile.directory, owner, state)
    if not recorder.is_locked and not pidfile.remove():
        # Another start completes it.
        return ""
    had_finished, note = state.finished is not None, ""
    if not had_finished and recorder.has_other_name:
        # A task may have made it, of a file that is not of the run.
        note = "; its record has another name, too (a hard link), so its end is not added"
    elif not had_finished:
        recorder.close_last_line()
        recorder.append(list(_missing_events(pidfile.directory, state)))
    pidfile.remove()
    if had_finished and not leftovers.killed:
        # It was killed after its last event and before it had removed the pidfile.
        return ""
    return _warning(pidfile.directory.run_id, leftovers) + note


def _recover_unrecorded(pidfile: PidFile, owner: Owner) -> str:
    """Recover a run that was killed while it imported its targets, before it had begun."""
    directory = pidfile.directory
    try:
        file = directory.open_starting()
    except FileNotFoundError:
        # Its directory was removed, or an older mprun runs it, which locks nothing before it has begun.
        return _remove_unrecorded(pidfile, owner) if owner.has_ended else ""
    locked = lock.acquire(file)
    if locked is False:
        os.close(file)
        return ""
    try:
        # It may have begun since.
        is_over = (locked or owner.has_ended) and not directory.has_record()
        return _remove_unrecorded(pidfile, owner) if is_over else ""
    finally:
        lock.close_record(file)


def _remove_unrecorded(pidfile: PidFile, owner: Owner) -> str:
    leftovers = _kill_leftovers(pidfile.directory, owner, RunState())
    if not pidfile.remove():
        # Another start has recovered it meanwhile, and warns about it.
        return ""
    with contextlib.suppress(FileNotFoundError):
        pidfile.directory.remove()
    return _warning(pidfile.directory.run_id, leftovers)


def _kill_leftovers(directory: RunDirectory, owner: Owner, state: RunState) -> Leftovers:
    # In another PID namespace, the pids that are recorded mean other processes.
    leftovers = Leftovers(directory, owner.began, state if owner.may_be_seen else RunState())
    # No process is older than the boot.
    if owner.on_this_boot:
        leftovers.kill()
    return leftovers


# ---- the warning


def _warning(run_id: str, leftovers: Leftovers) -> str:
    count = len(leftovers.killed - {*leftovers.remaining})
    parts = ["found no processes of it"]
    if count:
        processes = "process" if count == 1 else f"{count} processes"
        parts = [f"killed the {processes} that it left"]
    if leftovers.remaining:
        parts.append(f"could not kill {_join_names(leftovers.remaining)}")
    if leftovers.unproven:
        parts.append(f"left running, not provably part of this run: {_join_names(leftovers.unproven)}")
    return f"run {run_id} was interrupted: {MPRUN_KILLED}; {'; '.join(parts)}"


def _join_names(pids: Collection[int]) -> str:
    named = [f"process {pid} ({procfs.read_name(pid) or 'gone'})" for pid in sorted(pids)[:MAX_NAMED]]
    return ", ".join(named) + (f" and {len(pids) - MAX_NAMED} more" if len(pids) > MAX_NAMED else "")


# ---- the record


def _missing_events(directory: RunDirectory, state: RunState) -> Iterator[events.Event]:
    """The events that the killed engine did not write: an outcome for each task, and the run's end."""
    clock = Clock()
    stamp: dict[str, Any] = {"time": clock.iso(clock.now()), "run": directory.run_id}
    end = state.time
    begun = find_begun_logs(directory.logs)
    for task in state.tasks.values():
        if task.finished is None:
            outcome, reason, attempts = infer_outcome(begun, task)
            event = events.TaskFinished(
                **stamp,
                task=task.name,
                outcome=str(outcome),
                attempts=attempts,
                reason=reason,
                flaky=outcome == Outcome.SUCCEEDED and task.was_retried,
            )
            state.apply(event)
            yield event
    yield events.RunFinished(
        **stamp,
        outcome=str(Outcome.INTERRUPTED),
        exit_code=None,
        duration=state.seconds(end) or 0.0,
        counts=state.counts(),
        flaky=state.count_flaky(),
        reason=KILLED,
    )


def infer_outcome(begun: frozenset[str], task: TaskState) -> tuple[str, str, int]:
    """The outcome, reason and number of attempts of a task for which a killed engine recorded none.

    As far as they can be known: a task that may have started is `unknown`. `begun` is what `find_begun_logs`
    has found.
    """
    attempts = len(task.attempts)
    if log_name(task.name, attempts + 1) in begun:
        return Outcome.UNKNOWN, EXIT_UNKNOWN, attempts + 1
    if not attempts:
        return Outcome.CANCELLED, NEVER_STARTED, 0
    last = task.attempts[-1]
    if last.exited is None or last.retrying is None or last.retrying.reason not in (RETRY, RECIPE):
        # If the engine had not judged the exit yet, the outcome is as unknown as without one.
        return Outcome.UNKNOWN, EXIT_UNKNOWN, attempts
    timed_out = last.stopping is not None and last.stopping.reason in (TIMEOUT, RECIPE_TIMEOUT)
    exit_text = format_exit(last.exited.exit_code, last.exited.signal, last.exited.core_dumped)
    outcome = Outcome.TIMED_OUT if timed_out else Outcome.FAILED
    if last.retrying.reason == RECIPE:
        # It has not failed: all of its recipe was to run again.
        outcome = Outcome.STOPPED
    return outcome, f"{exit_text}, and {MPRUN_KILLED} before the next attempt", attempts

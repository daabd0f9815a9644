"""The command that stops tasks, or a whole run, from another terminal."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mprun.cli.completion import complete_run, complete_task
from mprun.cli.messages import print_json, write
from mprun.cli.options import STATE_DIR, json_option
from mprun.cli.show import read_run
from mprun.diagnostics import quote, suggest, visible
from mprun.engine import control
from mprun.errors import MprunError, UsageError
from mprun.outcomes import Outcome
from mprun.record import lock, reader
from mprun.record.run_list import list_runs
from mprun.reporters.format import join_names
from mprun.reporters.table import outcome_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from mprun.record.state_dir import RunDirectory

_POLL_INTERVAL_SECONDS = 0.1
# After this time the command says what it waits for.
_PATIENCE_SECONDS = 2.0
_MAX_NAMES = 5


@click.command()
@click.argument("tasks", nargs=-1, shell_complete=complete_task)
@click.option(
    "--run",
    metavar="RUN",
    shell_complete=complete_run,
    help="The run's id, or the beginning of it; by default the newest active run.",
)
@json_option("One JSON object: the stopped tasks and their outcomes.")
@STATE_DIR
def stop(tasks: tuple[str, ...], run: str | None, as_json: bool, state_dir: str) -> int:
    """Stop a running job, or some of its tasks.

    A task gets its stop signal and its grace, then SIGKILL, as after a timeout. TASKS are
    names or patterns with `*` and `?`; the name of a matrix, `foreach` or recipe means all
    of its tasks. To kill a run that is already stopping, stop it once more, at least one
    second later.
    """
    directory = _find_active_run(state_dir, run)
    say = (lambda text: None) if as_json else write
    answer = _stop_tasks(directory, list(tasks), say) if tasks else _stop_run(directory, say)
    if as_json:
        print_json(_to_json(directory, answer))
    if answer["unknown"]:
        raise UsageError(f"run {directory.run_id} has no task {_unknown_names(answer)}")
    return 0


def _unknown_names(answer: control.Answer) -> str:
    """The names that the run does not have; a single one with what it may mean."""
    names = ", ".join(map(quote, answer["unknown"]))
    if len(answer["unknown"]) > 1:
        return names
    hint = suggest(answer["unknown"][0], answer["known"], "tasks")
    return f"{names}; {hint}" if hint else names


def _find_active_run(state_dir: str, run: str | None) -> RunDirectory:
    """The run with this id, else the newest active one. Raises UsageError if it is not active."""
    if run is not None:
        directory, _ = read_run(state_dir, run, to_read=False)
        if lock.find_writer(directory) is None:
            raise UsageError(f"run {directory.run_id} has finished")
        return directory
    for directory in list_runs(state_dir, to_read=False):
        if lock.find_writer(directory) is not None:
            return directory
    raise UsageError(f"no active run in {state_dir} (use `--state-dir` for another directory)")


def _stop_tasks(
    directory: RunDirectory, tasks: list[str], say: Callable[[str], None]
) -> dict[str, list[str]]:
    """Stop some tasks and wait until they have ended; the engine's answer."""
    answer = control.stop_tasks(directory, tasks)
    if len(answer["finished"]) > _MAX_NAMES:
        # Of a task that is repeated there may be thousands.
        say(f"{join_names(answer['finished'], _MAX_NAMES)} had already finished")
    else:
        for name in answer["finished"]:
            say(f"{quote(name)} had already finished")
    _wait_for_tasks(directory, answer["stopped"], say)
    return answer


def _wait_for_tasks(directory: RunDirectory, names: list[str], say: Callable[[str], None]) -> None:
    """Report the outcome of each task as soon as it has one."""
    with closing(reader.RecordFollower(directory)) as record:
        _wait_for_ends(record, list(names), say)


def _wait_for_ends(record: reader.RecordFollower, waiting: list[str], say: Callable[[str], None]) -> None:
    notice = _Notice(say)
    while waiting:
        # Asked before the record is read, which is then complete.
        finished = lock.find_writer(record.directory) is None
        record.catch_up()
        for name in list(waiting):
            task = record.state.tasks.get(name)
            if task is not None and task.finished is not None:
                waiting.remove(name)
                say(f"{quote(name)} {visible(outcome_words(task))}")
        if finished:
            return
        if waiting:
            notice.waits_for(waiting)
            time.sleep(_POLL_INTERVAL_SECONDS)


def _stop_run(directory: RunDirectory, say: Callable[[str], None]) -> dict[str, list[str]]:
    """Stop the whole run and wait for its end; the tasks that were running, in the form of an answer."""
    control.stop_run(directory)
    notice = _Notice(say)
    while lock.find_writer(directory) is not None:
        if control.engine_is_suspended(directory):
            raise MprunError(f"run {directory.run_id} is suspended; it stops as soon as it is resumed")
        if notice.is_due:
            state, _ = reader.read_state(directory)
            running = [task.name for task in state.tasks.values() if task.is_running]
            notice.waits_for(running, "; stop the run once more to kill them now")
        time.sleep(_POLL_INTERVAL_SECONDS)
    state, _ = reader.read_state(directory)
    say(f"run {directory.run_id}: {visible(reader.run_outcome(directory, state))}")
    stopped = [task.name for task in state.tasks.values() if task.outcome == Outcome.STOPPED]
    return {"stopped": stopped, "finished": [], "unknown": [], "known": []}


class _Notice:
    """Says once what the command waits for, if that takes long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._due: float | None = time.monotonic() + _PATIENCE_SECONDS

    @property
    def is_due(self) -> bool:
        return self._due is not None and time.monotonic() >= self._due

    def waits_for(self, names: list[str], more: str = "") -> None:
        """The command waits for these tasks to end."""
        if names and self.is_due:
            self._due = None
            self._say(f"waiting for {join_names(names, _MAX_NAMES)} to end{more}")


def _to_json(directory: RunDirectory, answer: dict[str, list[str]]) -> dict[str, Any]:
    """The outcome and exit code of the run, and what became of each task that was asked for."""
    state, _ = reader.read_state(directory)
    results = {name: state.tasks[name].finished for name in answer["stopped"] if name in state.tasks}
    return {
        "run": directory.run_id,
        "outcome": reader.run_outcome(directory, state),
        "exit_code": state.finished.exit_code if state.finished else None,
        "stopped": [
            {
                "task": name,
                "outcome": result.outcome if result else None,
                "reason": result.reason if result else None,
            }
            for name, result in ((name, results.get(name)) for name in answer["stopped"])
        ],
        "finished": answer["finished"],
        "unknown": answer["unknown"],
    }

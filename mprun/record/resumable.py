"""Finds the run that `mprun resume` takes if none is named."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.frozen import Frozen
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.outcomes import EXIT_SUCCEEDED, Outcome
from mprun.record.commands import command
from mprun.record.moved_path import started_here
from mprun.record.run_list import list_runs
from mprun.record.summary import RunSummary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mprun.record.events import RunStarted
    from mprun.record.state_dir import RunDirectory


class Resumable(Frozen):
    """A run that can be resumed; `unreadable` are newer runs whose record cannot be read.

    With `is_newest`, there is no newer run at all.
    """

    directory: RunDirectory
    job: str
    file: str
    outcome: str
    unreadable: tuple[str, ...]
    is_newest: bool


def find_resumable(state_dir: str, *, succeeded: bool = False) -> Resumable | None:
    """The newest run of a job file that has ended, has not succeeded, and that no later run has finished.

    Later runs that finish it are a run that resumed it, which takes its place, and a successful run of
    the same job file with the same params and the same tasks, or all of them. With `succeeded`, a run
    that succeeded is found, too. None if there is no such run.

    Raises UsageError if a newer run is active and resumes a run or runs the same job file: that it is not
    meant would be a guess.
    """
    unreadable: list[str] = []
    resumed: set[str] = set()
    # Texts, because a run would have to be compared with each of thousands.
    finished: set[str] = set()
    active: dict[str, tuple[RunDirectory, RunStarted]] = {}
    here = os.path.abspath(state_dir)
    for place, summary in enumerate(map(RunSummary, list_runs(state_dir, to_read=False))):
        started = summary.state.started if summary.state is not None else None
        if summary.state is None or started is None:
            unreadable.append(summary.directory.run_id)
            continue
        started = started_here(started, here)
        was_resumed = started.run in resumed
        if started.resumed_from is not None:
            resumed.add(started.resumed_from)
        if summary.outcome == Outcome.RUNNING:
            if started.resumed_from is not None:
                raise _still_running(summary.directory, started)
            active.setdefault(started.file, (summary.directory, started))
            continue
        # The job of standard input is not kept.
        if was_resumed or started.file == STANDARD_INPUT_PATH:
            continue
        end = summary.state.finished
        if end is not None and end.exit_code == EXIT_SUCCEEDED and not succeeded:
            finished.add(_work(started))
            continue
        if finished and not finished.isdisjoint((_work(started), _work(started, everything=True))):
            continue
        if started.file in active:
            raise _still_running(*active[started.file])
        return Resumable(
            directory=summary.directory,
            job=started.job,
            file=started.file,
            outcome=summary.outcome,
            unreadable=tuple(unreadable),
            is_newest=place == 0,
        )
    return None


def _still_running(directory: RunDirectory, run: RunStarted) -> UsageError:
    what = f"runs {quote(run.file)}" if run.resumed_from is None else f"resumes run {run.resumed_from}"
    return UsageError(
        f"run {run.run} is still running (it {what}); wait for that, or stop it with "
        f"`{command(directory, 'stop', '--run', run.run)}`, or name the run to resume"
    )


def _work(run: RunStarted, *, everything: bool = False) -> str:
    """What a run did, as a text: its job file, its params, and which of the tasks; or else everything."""
    return json.dumps((run.file, run.params, None if everything else selection(run.options)), sort_keys=True)


def selection(options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Which of the tasks a run had, by its options; None for all of them."""
    keys = ("names", "tags", "partition", "with_dependencies")
    names, tags, partition, with_dependencies = map(options.get, keys)
    return (names, tags, partition, with_dependencies) if names or tags or partition else None

"""The command that compares two runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from mprun.cli.completion import complete_run
from mprun.cli.messages import print_json, print_lines, warn
from mprun.cli.options import STATE_DIR, json_option
from mprun.cli.show import read_run, read_run_in
from mprun.diagnostics import quote
from mprun.errors import UsageError
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.outcomes import EXIT_FAILED, EXIT_SUCCEEDED
from mprun.record import lock
from mprun.record.comparison import DURATION, MEMORY
from mprun.record.comparison import compare as compare_states
from mprun.record.history import is_run_of
from mprun.record.line_format import MAX_FIRST_LINE
from mprun.record.log_difference import LogComparer, checkouts
from mprun.record.moved_path import started_here
from mprun.record.resumable import selection
from mprun.record.run_list import list_runs
from mprun.record.samples import Samples, read_samples
from mprun.record.volatile import masker

if TYPE_CHECKING:
    from typing import Any

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory


@click.command()
@click.argument("old", required=False, shell_complete=complete_run)
@click.argument("new", required=False, shell_complete=complete_run)
@json_option("One JSON object.")
@STATE_DIR
def compare(old: str | None, new: str | None, as_json: bool, state_dir: str) -> int:
    """Compare two runs: outcomes, durations, memory, tasks and logs.

    OLD and NEW are ids of runs, or beginnings of them. By default, NEW is the newest run, and OLD
    the one before it of the same job file, and of the same tasks if there is one. Durations and
    memory are compared with the noise of up to 20 earlier runs. Exit code 1 means that something
    got worse.
    """
    from mprun.cli.views.comparison import comparison_json, comparison_lines, end_words

    if old is not None:
        before, after = read_run(state_dir, old), read_run(state_dir, new)
    else:
        after = read_run(state_dir, None)
        before = read_run_in(_run_before(state_dir, *after))
    place = os.path.abspath(state_dir)
    for _, state in (before, after):
        if state.started is not None:
            state.started = started_here(state.started, place)
    mask = masker((), checkouts(before[1], after[1]))
    comparison = compare_states(
        before[1], after[1], end_words(mask), _samples(state_dir, after[0].run_id, after[1])
    )
    logs = LogComparer(before, after)
    both = [name for name in after[1].known_names() if name in before[1].tasks]
    # Those that ended differently first: not all logs may be read.
    differences = logs.differences(dict.fromkeys((*comparison.changed, *both)))
    for text in logs.unreadable:
        warn(text)
    if as_json:
        print_json(comparison_json(before, after, comparison, differences, logs.skipped))
    else:
        print_lines(comparison_lines(before, after, comparison, differences, logs.skipped))
    return EXIT_FAILED if comparison.is_worse else EXIT_SUCCEEDED


def _run_before(state_dir: str, directory: RunDirectory, state: RunState) -> RunDirectory:
    """The newest run of the same job file that is older than this one, of the same tasks if there is one."""
    place = os.path.abspath(state_dir)
    started = state.started and started_here(state.started, place)
    file, job = (started.file, started.job) if started else ("", "")
    others = None
    for earlier in list_runs(state_dir):
        if earlier.run_id >= directory.run_id:
            continue
        try:
            with lock.open_record(earlier) as stream:
                line = stream.readline(MAX_FIRST_LINE)
        except OSError:
            continue
        if is_run_of(line, file, place, job):
            if started and _tasks(json.loads(line).get("options")) == _tasks(started.options):
                return earlier
            others = others or earlier
    if others is not None:
        return others
    same = f"of the same job file {quote(file)}"
    if file == STANDARD_INPUT_PATH:
        same = f"of a job from standard input with the name {quote(job)}"
    raise UsageError(
        f"no run in {state_dir} before {directory.run_id} is {same}; "
        "name the runs to compare: `mprun compare OLD NEW`"
    )


def _tasks(options: Any) -> object:
    """Which tasks a run had, and whether it had copies of them."""
    return (selection(options), "seed" in options) if isinstance(options, dict) else None


def _samples(state_dir: str, before: str, state: RunState) -> Samples:
    if state.started is None:
        return {DURATION.name: {}, MEMORY.name: {}}
    started = state.started
    return read_samples(state_dir, started.file, state.tasks, before=before, job=started.job)

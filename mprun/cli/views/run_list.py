"""Lists the runs of a state directory, one line per run: its job, its start and how it ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import MPRUN_KILLED, format_reason
from mprun.reporters import table
from mprun.reporters.format import counts_text, format_duration, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from mprun.record.summary import RunSummary

HEAD = ("RUN", "JOB", "STARTED", "DURATION", "OUTCOME", "EXIT", "TASKS")
_LAYOUT = table.Layout(
    folded=(1, 4, 6),
    right=(3, 5),
    # Never RUN: the id begins with the time of the start, in UTC.
    optional=("STARTED", "TASKS", "DURATION", "JOB", "EXIT"),
    styled=4,
    # So that 80 columns have room for the counts of tasks.
    min_text_width=11,
)
# The exit code of a run that was killed.
_UNKNOWN = "?"
# Characters; `mprun show` has the complete text.
_MAX_DAMAGE_LENGTH = 100


def write_json(runs: Iterable[RunSummary], stream: TextIO, now: str) -> None:
    """Write one JSON object per line, for each run."""
    for run in runs:
        stream.write(json.dumps(run.to_json(now), ensure_ascii=False) + "\n")


def write_table(runs: Iterable[RunSummary], stream: TextIO, colour: bool, now: str) -> None:
    """Write a table with a row for each run."""
    table.write(HEAD, [_row(run, now) for run in runs], stream, colour, _LAYOUT)


def _row(run: RunSummary, now: str) -> tuple[str, ...]:
    name = visible(run.directory.run_id)
    if run.state is None or run.state.started is None:
        return (name, "-", "-", "-", f"{run.outcome}: {_damage(run)}", "-", "-")
    started, finished = run.state.started, run.state.finished
    duration = format_duration(run.duration(now))
    return (
        name,
        visible(started.job),
        format_time(started.time)[:19],
        # At least this long: until its last event.
        f">{duration}" if run.exit_unknown else duration,
        _outcome(run, finished.reason if finished else MPRUN_KILLED if run.exit_unknown else ""),
        _UNKNOWN if run.exit_unknown else str(finished.exit_code) if finished else "-",
        counts_text(run.counts(), run.allowed(), run.flaky()) or "-",
    )


def _outcome(run: RunSummary, why: str) -> str:
    outcome = visible(run.outcome)
    words = f"{outcome}: {visible(format_reason(why))}" if why else outcome
    return f"{words} ({_damage(run)})" if run.damage else words


def _damage(run: RunSummary) -> str:
    more = f", and {len(run.damage) - 1} more" if len(run.damage) > 1 else ""
    return visible(run.damage[0][:_MAX_DAMAGE_LENGTH]) + more

"""Shows what differs between two runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.outcomes import Outcome
from mprun.record import reader
from mprun.record.comparison import MIN_SAMPLES, changed_files, changed_params
from mprun.record.retried import is_flaky
from mprun.reporters import table
from mprun.reporters.format import format_duration, format_size, format_time, join_names, plural, truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.comparison import Comparison, OutcomeChange, ValueChange
    from mprun.record.log_difference import LogDifference
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState

    Side = tuple[RunDirectory, RunState]

# So many changes of a kind are listed, and so many names.
_MAX_LISTED = 100
_MAX_NAMES = 20
# Columns.
_MAX_WIDTH = 160


def end_words(mask: Callable[[str], str]) -> Callable[[TaskState], str]:
    """How a task ended, in words in which what differs in each run is masked."""

    def words(task: TaskState) -> str:
        finished = task.finished
        if finished is not None and finished.outcome == Outcome.SUCCEEDED:
            return f"{finished.outcome}{' (flaky)' if is_flaky(finished.to_record()) else ''}"
        return mask(table.outcome_words(task))

    return words


def comparison_lines(
    old: Side, new: Side, comparison: Comparison, logs: Sequence[LogDifference], skipped: int
) -> Iterator[str]:
    """The differences as lines: what got worse comes first in each part."""
    yield f"old: {_run_line(*old)}"
    yield f"new: {_run_line(*new)}"
    if files := _files(old, new):
        yield f"the runs are of different job files: {' and '.join(map(visible, files))}"
    if changed := changed_files(old[1], new[1]):
        yield f"files changed: {visible(join_names(changed, _MAX_NAMES))}"
    for name, values in changed_params(old[1], new[1]).items():
        yield f"param {visible(name)}: {_short(values[0])} -> {_short(values[1])}"
    yield from _part("outcomes", comparison.outcomes, _outcome_line)
    yield from _part("durations", comparison.durations, lambda one: _value_line(one, format_duration))
    yield from _part("memory", comparison.memory, lambda one: _value_line(one, _size))
    for head, names in (("new tasks", comparison.new_tasks), ("gone tasks", comparison.gone_tasks)):
        if names:
            yield f"{head}: {visible(join_names(names, _MAX_NAMES))}"
    if logs:
        yield "logs, first line that differs:"
        for difference in logs[:_MAX_LISTED]:
            yield f"  {visible(difference.task)}, line {difference.line}"
            yield f"    - {_log_line(difference.old)}"
            yield f"    + {_log_line(difference.new)}"
        yield from _more(len(logs))
    if skipped:
        yield f"the logs of {plural(skipped, 'more task')} were not compared: the others are long"
    yield _verdict(comparison, logs)


def comparison_json(
    old: Side, new: Side, comparison: Comparison, logs: Sequence[LogDifference], skipped: int
) -> dict[str, Any]:
    """The differences as a JSON object."""
    params = changed_params(old[1], new[1]).items()
    return {
        "old": _run_json(*old),
        "new": _run_json(*new),
        "worse": comparison.is_worse,
        "same_job_file": not _files(old, new),
        "changed_files": changed_files(old[1], new[1]),
        "changed_params": [{"param": name, "old": was, "new": now} for name, (was, now) in params],
        "outcomes": [change.to_dict() for change in comparison.outcomes],
        "durations": [change.to_dict() for change in comparison.durations],
        "memory": [change.to_dict() for change in comparison.memory],
        "new_tasks": list(comparison.new_tasks),
        "gone_tasks": list(comparison.gone_tasks),
        "logs": [difference.to_dict() for difference in logs],
        "logs_not_compared": skipped,
    }


def _run_line(directory: RunDirectory, state: RunState) -> str:
    started = state.started
    about = f" of {started.job}, {format_time(started.time)}" if started else ""
    duration = f" in {format_duration(state.finished.duration)}" if state.finished else ""
    return visible(f"{directory.run_id}{about}, {reader.run_outcome(directory, state)}{duration}")


def _run_json(directory: RunDirectory, state: RunState) -> dict[str, Any]:
    started, finished = state.started, state.finished
    return {
        "run": directory.run_id,
        "job": started.job if started else None,
        "file": started.file if started else None,
        "started": started.time if started else None,
        "outcome": reader.run_outcome(directory, state),
        "duration": finished.duration if finished else None,
    }


def _files(old: Side, new: Side) -> list[str]:
    """The job files of the runs if they differ; none if they do not."""
    files = [state.started.file if state.started else "an unknown file" for _, state in (old, new)]
    return files if files[0] != files[1] else []


def _part(head: str, changes: Sequence[Any], line: Callable[[Any], str]) -> Iterator[str]:
    if changes:
        yield f"{head}:"
        yield from (f"  {line(change)}" for change in changes[:_MAX_LISTED])
        yield from _more(len(changes))


def _more(count: int) -> Iterator[str]:
    if count > _MAX_LISTED:
        yield f"  … and {count - _MAX_LISTED} more"


def _outcome_line(change: OutcomeChange) -> str:
    mark = "worse " if change.worse else "      "
    return visible(f"{mark} {change.task}: {change.old or 'new'} -> {change.new or 'gone'}")


def _value_line(change: ValueChange, text: Callable[[float], str]) -> str:
    mark = "worse " if change.worse else "better"
    if change.median is None or change.mad is None:
        noise = f"fewer than {MIN_SAMPLES} earlier runs"
    else:
        noise = f"median {text(change.median)} ± {text(change.mad)} of {change.runs} earlier runs"
    return visible(f"{mark} {change.task}: {text(change.old)} -> {text(change.new)} ({noise})")


def _size(value: float) -> str:
    return format_size(int(value))


def _short(value: Any) -> str:
    return truncate(visible(json.dumps(value, ensure_ascii=False)), _MAX_WIDTH)


def _log_line(line: str | None) -> str:
    return "(the log has no such line)" if line is None else truncate(visible(line), _MAX_WIDTH)


def _verdict(comparison: Comparison, logs: Sequence[LogDifference]) -> str:
    parts = [
        plural(sum(change.worse for change in changes), thing)
        for changes, thing in (
            (comparison.outcomes, "outcome"),
            (comparison.durations, "duration"),
            (comparison.memory, "memory peak"),
        )
        if any(change.worse for change in changes)
    ]
    if parts:
        return f"worse: {', '.join(parts)}"
    names = (*comparison.changed, *comparison.new_tasks, *comparison.gone_tasks, *logs)
    return "nothing got worse" if names else "no difference"

"""Shows one run, active or finished, from its record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.outcomes import MPRUN_KILLED, Outcome, format_exit, format_reason
from mprun.record import garbage_collector, process_snapshot, process_tree, reader, results
from mprun.record.artifacts import artifacts_by_task
from mprun.record.copies import is_repeated
from mprun.record.not_shown import read_not_shown
from mprun.record.task_lines import has_no_result
from mprun.reporters import table
from mprun.reporters.format import (
    display_width,
    format_duration,
    format_size,
    format_time,
    headline,
    join_names,
    pad,
    plural,
    resumed_line,
    truncate,
)
from mprun.reporters.plain_cells import plain_cells
from mprun.reporters.process_names import named_pids
from mprun.scheduling.retry import HOST_LOST, RECIPE, RESTART

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import AttemptState, TaskState

# Columns; the complete value is in the record, or in a file of its own.
_MAX_VALUE_WIDTH = 60
# How many running tasks are named.
_MAX_NAMES = 10


def show_run(
    directory: RunDirectory, state: RunState, stream: TextIO, colour: bool, *, attempts: bool = False
) -> None:
    """Write one run: its header, a table of its tasks, their results, and how the run ended.

    With `attempts`, also a line for each attempt.
    """
    outcome = reader.run_outcome(directory, state)
    alive = outcome != Outcome.INTERRUPTED
    seen = process_snapshot.snapshot_tasks(state) if outcome == Outcome.RUNNING else {}
    for line in _head(state):
        stream.write(line + "\n")
    _section(stream, "hosts", list(_hosts(state)))
    rows = table.rows(state, alive=alive, seen=seen, plain=plain_cells)
    garbage_collector.keep(rows)
    table.write_tasks(state, rows, stream, colour)
    if is_repeated(state.started):
        from mprun.reporters.repeat_table import write_repeats

        write_repeats(state, stream, colour)
    if attempts:
        _section(stream, "attempts", list(_attempts(state, alive)))
        _section(stream, "mprun itself", list(_cost(directory, state)))
    _section(stream, "results", list(_results(directory, state)))
    _section(stream, "artifacts", list(_artifacts(directory, state)))
    stream.write(_end(state, outcome) + "\n")
    if not_shown := read_not_shown(directory):
        stream.write(visible(not_shown) + "\n")


def _section(stream: TextIO, name: str, lines: list[str]) -> None:
    if lines:
        stream.write("\n".join([f"{name}:", *(f"  {line}" for line in lines)]) + "\n")


def _head(state: RunState) -> Iterator[str]:
    started = state.started
    if started is None:
        yield "the first event of the run is missing: its job, its params and its start are unknown"
        return
    numbers = (started.tasks, started.mode, started.at_once, started.cpus)
    yield f"{headline(started.job, *numbers, started.start_method)}, run {visible(started.run)}"
    yield f"file {visible(started.file)}, started {format_time(started.time)}"
    for shard in started.shards or ():
        if isinstance(shard, dict):
            name = f"shard {shard.get('shard')}/{shard.get('of')}"
            end = shard.get("outcome") or "without an end"
            yield visible(f"{name}: run {shard.get('run')} on {shard.get('host')}, {end}")
    if started.params:
        values = (f"{visible(name)}={_short(value)}" for name, value in started.params.items())
        yield f"params {', '.join(values)}"
    if started.resumed_from is not None:
        yield resumed_line(started.resumed_from)


def _hosts(state: RunState) -> Iterator[str]:
    """Which hosts have joined, left and were lost, if any has."""
    if not state.host_changes:
        return
    # Few runs are on several hosts.
    from mprun.reporters.host_rows import host_rows

    for time, host, words in host_rows(state):
        yield visible(f"{format_time(time)[11:] if time else ''} {host} {words}".replace("\n", " ").strip())


def _end(state: RunState, outcome: str) -> str:
    finished = state.finished
    if finished is not None:
        outcome = visible(finished.outcome)
        why = f" ({visible(format_reason(finished.reason))})" if finished.reason else ""
        if state.exit_unknown:
            return f"{outcome}{why}: {_exit_unknown(finished.duration)}"
        ended = f"{format_duration(finished.duration)}, at {format_time(finished.time)[11:]}"
        return f"{outcome}{why}: exit {finished.exit_code} after {ended}"
    if outcome == Outcome.RUNNING:
        names = join_names([task.name for task in state.tasks.values() if task.is_running], _MAX_NAMES)
        return f"{outcome}: {names}" if names else outcome
    return f"{outcome}: {MPRUN_KILLED}; {_exit_unknown(state.seconds(state.time))}"


def _exit_unknown(seconds: float | None) -> str:
    """What is known of a run that was killed; `seconds` are from its start to its last event."""
    return f"exit code unknown, last event {format_duration(seconds)} after the start"


# ---- results


def _results(directory: RunDirectory, state: RunState) -> Iterator[str]:
    if all(map(has_no_result, state.tasks.values())):
        return
    found = {task.name: _result(directory, task) for task in state.in_order() if not has_no_result(task)}
    shown = {visible(name): text for name, text in found.items() if text}
    width = max(map(display_width, shown), default=0)
    for name, text in shown.items():
        yield f"{pad(name, width)}  {text}"
    if any(text.endswith("…") for text in shown.values()):
        yield "(cut; `mprun result TASK` prints all of one)"


def _result(directory: RunDirectory, task: TaskState) -> str:
    """The result of a task in short; empty if it has none."""
    finished = task.finished
    kind = finished.result_kind if finished else "none"
    if finished is None or kind == "none":
        return ""
    if kind == "json":
        return _short(finished.result)
    files = directory.result_files(task.name, finished.attempts)
    if kind == "repr":
        text = results.read_repr(files, 4 * _MAX_VALUE_WIDTH)
        flaw = files.with_suffix(results.REPR).flaw() or "the file with its repr is missing"
        return f"not JSON ({flaw})" if text is None else _cut(text)
    from mprun.record.commands import short_path

    file = files.with_suffix(results.JSON)
    flaw = file.flaw()
    if file.exists() and not flaw:
        return f"{format_size(file.size())} of JSON in {visible(short_path(file.path))}"
    return f"JSON ({flaw or 'its file is missing'})"


def _artifacts(directory: RunDirectory, state: RunState) -> Iterator[str]:
    """The directories in which tasks have left artifacts."""
    from mprun.record.commands import short_path

    kept = artifacts_by_task(directory, state)
    width = max((display_width(visible(name)) for name in kept), default=0)
    for name, path in kept.items():
        yield f"{pad(visible(name), width)}  {visible(short_path(path))}"


def _short(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return truncate(visible(text.replace("\n", " ")), _MAX_VALUE_WIDTH)


# ---- attempts


def _cost(directory: RunDirectory, state: RunState) -> Iterator[str]:
    """The memory and CPU time of mprun and of the main process."""
    for root in process_tree.build_tree(directory, state):
        for process in [root, *(child for child in root.children if child.role == process_tree.LAUNCHER)]:
            if process.max_rss is not None:
                used = f"{format_size(process.max_rss)}, cpu {format_duration(process.cpu)}"
                yield f"{process.name} pid={process.pid}: {used}"


def _attempts(state: RunState, alive: bool) -> Iterator[str]:
    for task in state.in_order():
        for attempt in task.attempts:
            started = attempt.started
            is_over = task.finished is not None or not alive
            facts = ", ".join(_facts(attempt, alive, is_over, is_last=attempt is task.attempts[-1]))
            yield (
                f"{format_time(started.time)[11:]} {visible(task.name)} attempt={started.attempt} "
                f"pid={started.pid}: {visible(facts)}"
            )


def _facts(attempt: AttemptState, alive: bool, is_over: bool, *, is_last: bool) -> Iterator[str]:
    """The events of an attempt, in order."""
    if attempt.ready is not None:
        yield f"ready at {format_time(attempt.ready.time)[11:]}"
    if attempt.stopping is not None:
        yield f"{attempt.stopping.signal} ({format_reason(attempt.stopping.reason)})"
    exited = attempt.exited
    if exited is None:
        yield Outcome.RUNNING if alive else format_exit(None, None)
        return
    words = format_exit(exited.exit_code, exited.signal, exited.core_dumped)
    yield f"{words}{table.error_words(exited)} after {format_duration(exited.duration)}".replace("\n", " ")
    if exited.orphans:
        yield f"orphans killed: {', '.join(named_pids(exited.orphans, exited.process_names))}"
    if exited.left_running:
        left = ", ".join(named_pids(exited.left_running, exited.process_names))
        yield f"left running, could not be killed: {left}"
    if exited.lost_output:
        yield f"its log was truncated: at least {plural(exited.lost_output, 'byte')} lost"
    if attempt.retrying is not None:
        reason = attempt.retrying.reason
        if reason == HOST_LOST:
            yield format_reason(reason)
        verb = {RESTART: "restarted", RECIPE: "retried with all of its recipe"}.get(reason, "retried")
        if is_last and is_over:
            # The run, or the task, was stopped before.
            yield f"not {verb}"
        else:
            yield f"{'to be ' if is_last else ''}{verb} after {format_duration(attempt.retrying.delay)}"

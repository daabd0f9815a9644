"""Tables, and the table of a run's tasks: laid out by rich on a terminal, aligned text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.frozen import Frozen
from mprun.outcomes import BAD, Outcome, format_reason
from mprun.record.task_state import TaskState
from mprun.reporters.format import column_widths, format_duration, format_size, pad, truncate
from mprun.scheduling.retry import FLAKY, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TextIO

    from mprun.record.events import RunFinished, TaskExited, TaskFinished
    from mprun.record.process_snapshot import ProcessSnapshot
    from mprun.record.run_state import RunState


class Layout(Frozen):
    """How the columns of a table are laid out; columns are counted from 0.

    `folded` columns are text that may take several lines, `right` columns are numbers. A
    narrow terminal leaves out `optional` columns, in this order, until the others fit. The
    `styled` column begins with an outcome. A column of text is folded to no fewer columns of the
    terminal than `min_text_width`.
    """

    folded: tuple[int, ...]
    right: tuple[int, ...]
    optional: tuple[str, ...]
    styled: int
    min_text_width: int = 16


HEAD = ("TASK", "OUTCOME", "PID", "PPID", "DURATION", "CPU", "MEMORY", "ATTEMPTS")
TASKS = Layout(
    folded=(0, 1),
    right=(2, 3, 4, 5, 6, 7),
    optional=("PPID", "ATTEMPTS", "CPU", "MEMORY", "PID", "DURATION"),
    styled=1,
)
# Longer tables are read by programs, or searched; they are not laid out for a terminal.
MAX_ROWS = 500
# Columns; the complete text of an error is in the task's log.
_MAX_OUTCOME_WIDTH = 80
# The reason of a task that was stopped by a request or by a signal.
_BY_USER = "user"
# Of an error outside of the table: room for a path.
_MAX_ERROR_WIDTH = 200

_NO_ATTEMPTS = "0"
# stderr is line-buffered: without this, each row would be a write.
_ROWS_PER_WRITE = 100


def rows(
    state: RunState,
    *,
    alive: bool = True,
    seen: Mapping[str, ProcessSnapshot] | None = None,
    plain: Callable[[TaskState], tuple[str, ...]] | None = None,
) -> list[tuple[str, ...]]:
    """A row for each task, in the order of the file; with those that have had no event if it is not over.

    If the record does not have that order, first those that ran, in the order of their start.
    `alive` is false if the engine of the run was killed: tasks without an outcome are unknown
    then. `seen` has a snapshot of running tasks, by name, `plain` the cells of tasks with an `end`.
    """
    earlier_run = state.started.resumed_from if state.started else None
    tasks = state.in_order()
    if not state.has_order():
        # Stable: those without an attempt have not run.
        tasks.sort(key=lambda task: not task.attempts)
    elif state.finished is None or state.exit_unknown:
        known = {task.name: task for task in tasks}
        planned = {name: known.get(name) or TaskState(name) for name in state.planned_names()}
        tasks = [*(planned | known).values()]
    seen, items = seen or {}, state.items
    found: list[tuple[str, ...]] = []
    for task in tasks:
        name = task.name
        item = items.get(name)
        if plain is not None and task.end and name not in seen:
            # Without the call for most names: it takes a tenth of the time of all rows.
            shown = name if item is None and name.isascii() and name.isprintable() else with_item(name, item)
            pid, ppid, duration, cpu, memory = plain(task)
            found.append((shown, "succeeded", pid, ppid, duration, cpu, memory, "1"))
        else:
            found.append(task_row(task, alive, seen.get(name), earlier_run, item))
    return found


def is_incident(event: TaskFinished, state: RunState) -> bool:
    """Whether the end of a task is told at once: not if it succeeded at once and left no process running."""
    if event.outcome == Outcome.SUCCEEDED:
        return event.flaky or bool(orphans_of(state.tasks[event.task]))
    return event.outcome in BAD or event.outcome == Outcome.SKIPPED


def orphans_of(task: TaskState) -> list[str]:
    """The processes, by pid and name, that the last attempt of a task had left running; they were killed."""
    attempts = task.attempts
    exited = attempts[-1].exited if attempts else None
    return _named(exited.orphans, exited) if exited else []


def is_by_request(event: TaskFinished) -> bool:
    """Whether a user has stopped this task alone, unless a signal has stopped the run."""
    return event.reason == _BY_USER and event.outcome in (Outcome.STOPPED, Outcome.CANCELLED)


def fails_run(event: TaskFinished, run: RunFinished) -> bool:
    """Whether a task is one of those that a run failed by, and that did not only follow from others."""
    if event.flaky:
        return event.reason == FLAKY
    if event.outcome in BAD:
        return not event.allowed
    return run.outcome != Outcome.INTERRUPTED and is_by_request(event)


def failing_tasks(tasks: Iterable[TaskState], run: RunFinished) -> list[TaskState]:
    """Those of the tasks of a run that `fails_run` names."""
    if not run.flaky:
        # To unpack the events of each task of a large run takes a tenth of its time.
        tasks = [task for task in tasks if task.outcome != Outcome.SUCCEEDED]
    return [task for task in tasks if task.finished and fails_run(task.finished, run)]


def with_item(name: str, item: str | None) -> str:
    """A task's name, with the item of an instance of a `foreach` beside it."""
    return visible(name if item is None else f"{name} ({item})")


def task_row(
    task: TaskState,
    alive: bool,
    process: ProcessSnapshot | None,
    earlier_run: str | None,
    item: str | None,
) -> tuple[str, ...]:
    """The row of one task; the arguments are as for `rows`, `item` is that of an instance of a `foreach`."""
    name = with_item(task.name, item)
    outcome = visible(outcome_words(task, earlier_run) + _left_running(task) + _lost_output(task))
    if task.finished is None and not alive:
        outcome = Outcome.UNKNOWN if task.attempts else "not started"
    if process is not None:
        outcome = process.status
    outcome = truncate(outcome, _MAX_OUTCOME_WIDTH)
    if not task.attempts:
        return (name, outcome, "-", "-", "-", "-", "-", _NO_ATTEMPTS)
    attempt = task.attempts[-1]
    facts = attempt.exited or process
    return (
        name,
        outcome,
        str(attempt.started.pid),
        str(attempt.started.ppid),
        format_duration(facts.duration if facts else None),
        format_duration(facts.cpu if facts else None),
        format_size(facts.max_rss if facts else None),
        str(len(task.attempts)),
    )


def outcome_words(task: TaskState, earlier_run: str | None = None) -> str:
    """A task's outcome and why: `failed: killed by SIGKILL`, `failed: exit 1 (ValueError: no)`.

    `earlier_run` is the id of the run that this one resumes.
    """
    finished = task.finished
    if finished is None:
        if task.is_running:
            return "running"
        retrying = task.attempts[-1].retrying if task.attempts else None
        if task.attempts and retrying is None:
            # It has ended, and has no outcome before all of its recipe has.
            return "waiting for its recipe"
        return f"waiting for attempt {retrying.attempt}" if retrying else "waiting"
    if finished.outcome == Outcome.SUCCEEDED:
        if finished.reused and finished.reason.startswith(UNCHANGED):
            return f"{finished.outcome}: {finished.reason}"
        reused = f": reused from {earlier_run or 'an earlier run'}" if finished.reused else ""
        flaky = f" ({format_reason(FLAKY) if finished.reason == FLAKY else FLAKY})" if finished.flaky else ""
        return f"{finished.outcome}{flaky}{reused}"
    exited = task.attempts[-1].exited if task.attempts else None
    why = error_words(exited) if exited and finished.outcome == Outcome.FAILED else ""
    allowed = ", allowed" if finished.allowed else ""
    reason = format_reason(finished.reason)
    if reason.startswith(f"{finished.outcome} "):
        return reason  # `stopped by user`
    return f"{finished.outcome}{allowed}: {reason}{why}".replace("\n", " ")


def _left_running(task: TaskState) -> str:
    """The processes that could not be killed at the ends of a task's attempts."""
    exits = [attempt.exited for attempt in task.attempts if attempt.exited]
    left = [named for one in exits for named in _named(one.left_running, one)]
    return f"; left running: {', '.join(left)}" if left else ""


def _named(pids: Sequence[int], exited: TaskExited) -> list[str]:
    if not pids:
        return []
    # Few tasks leave any.
    from mprun.reporters.process_names import named_pids

    return named_pids(pids, exited.process_names)


def _lost_output(task: TaskState) -> str:
    """What a task's attempts have lost of their logs."""
    return (
        "; its log was truncated"
        if any(one.exited and one.exited.lost_output for one in task.attempts)
        else ""
    )


def error_words(exited: TaskExited) -> str:
    """The exception that ended an attempt, if there was one, in short: ` (ValueError: no)`."""
    error = exited.error or {}
    parts = [str(error[key]) for key in ("type", "message") if error.get(key)]
    return f" ({truncate(': '.join(parts), _MAX_ERROR_WIDTH)})" if parts else ""


def write_tasks(
    state: RunState, rows: Sequence[tuple[str, ...]], stream: TextIO, colour: bool | None
) -> None:
    """Write the table of the tasks of a run; the rows are as `rows` makes them."""
    if state.started is not None and state.started.hosts:
        # Few runs are on other hosts.
        from mprun.record.hosts import hosts_by_task

        named = hosts_by_task(state)
        hosts = {with_item(name, state.items.get(name)): visible(host) for name, host in named.items()}
        if hosts:
            with_hosts = [(*row, hosts.get(row[0], "-")) for row in rows]
            write(
                (*HEAD, "HOST"),
                with_hosts,
                stream,
                colour,
                TASKS.replace(optional=("PPID", "ATTEMPTS", "CPU", "MEMORY", "HOST", "PID", "DURATION")),
            )
            return
    write(HEAD, rows, stream, colour)


def write(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    stream: TextIO,
    colour: bool | None = None,
    layout: Layout = TASKS,
) -> None:
    """Write a table; with `colour` None, in colour if the stream is a terminal.

    On a terminal rich lays it out, because it can fold cells. Its import takes 120 ms, and a
    row takes a hundred times as long as plain text.
    """
    if stream.isatty() and len(lines) <= MAX_ROWS:
        from mprun.reporters.rich_table import write_rich

        write_rich(head, lines, stream, colour, **layout.to_dict())
    else:
        _write_plain(head, lines, stream, layout)


def _write_plain(head: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO, layout: Layout) -> None:
    shown = [head, *lines]
    widths = column_widths(shown)
    # The width of a character is 1 in ASCII, as `%` has it for all.
    pattern = "  ".join(
        [f"%{'' if column in layout.right else '-'}{width}s" for column, width in enumerate(widths)]
    )
    for begin in range(0, len(shown), _ROWS_PER_WRITE):
        rows = shown[begin : begin + _ROWS_PER_WRITE]
        text = "\n".join([(pattern % tuple(row)).rstrip() for row in rows]) + "\n"
        if not text.isascii():
            text = "".join([_plain_row(row, widths, layout) for row in rows])
        stream.write(text)


def _plain_row(row: Sequence[str], widths: Sequence[int], layout: Layout) -> str:
    cells = [pad(cell, widths[column], right=column in layout.right) for column, cell in enumerate(row)]
    return "  ".join(cells).rstrip() + "\n"

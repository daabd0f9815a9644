"""Tables of a run's tasks: with rich on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.frozen import Frozen
from mprun.outcomes import Outcome
from mprun.reporters.format import (
    display_width,
    format_duration,
    format_reason,
    format_size,
    pad,
    truncate,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal, TextIO

    from mprun.record.events import TaskExited
    from mprun.record.process_tree import ProcessSnapshot
    from mprun.record.run_state import RunState, TaskState


class Layout(Frozen):
    """How a table's columns are laid out, by their places from 0.

    `folded` ones are text, which may take several lines; `right` ones are numbers; of
    `given_up` a narrow terminal shows as many as it has room for, the last for longest.
    `styled` has an outcome at its beginning.
    """

    folded: tuple[int, ...]
    right: tuple[int, ...]
    given_up: tuple[str, ...]
    styled: int


HEAD = ("TASK", "OUTCOME", "PID", "PPID", "DURATION", "CPU", "MEMORY", "ATTEMPTS")
TASKS = Layout(
    folded=(0, 1),
    right=(2, 3, 4, 5, 6, 7),
    given_up=("PPID", "ATTEMPTS", "CPU", "MEMORY", "PID", "DURATION"),
    styled=1,
)
# A column of text may be folded to this many columns of a terminal, and not further.
_LEAST_TEXT = 16
# A table of more rows is for programs to read, or to be searched: it is not laid out for a terminal.
MAX_ROWS = 500
# An error's text is cut to this in a table; the whole of it is in the task's log.
_OUTCOME_LIMIT = 80

_NO_ATTEMPTS = "0"
_AT_A_TIME = 100

STYLES: dict[str, str] = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "bold red",
    Outcome.TIMED_OUT: "bold red",
    Outcome.UNKNOWN: "bold red",
    Outcome.STOPPED: "cyan",
    Outcome.SKIPPED: "yellow",
    Outcome.CANCELLED: "yellow",
    Outcome.INTERRUPTED: "yellow",
    Outcome.CORRUPT: "bold red",
}


def rows(
    state: RunState, *, alive: bool = True, seen: Mapping[str, ProcessSnapshot] | None = None
) -> list[tuple[str, ...]]:
    """A row for each task: those that ran in the order of their start, then the others.

    `alive` is false for a run whose engine is gone: what it did not see end is unknown.
    `seen` has what can be seen of running tasks now.
    """
    earlier_run = state.started.resumed_from if state.started else None
    found = [_row(task, alive, (seen or {}).get(task.name), earlier_run) for task in state.tasks.values()]
    return sorted(found, key=lambda row: row[-1] == _NO_ATTEMPTS)


def bad_rows(state: RunState) -> list[tuple[str, ...]]:
    """As `rows`, but of tasks that neither succeeded nor were skipped."""
    good = (Outcome.SUCCEEDED, Outcome.SKIPPED)
    return [_row(task, True, None, None) for task in state.tasks.values() if task.outcome not in good]


def _row(
    task: TaskState, alive: bool, process: ProcessSnapshot | None, earlier_run: str | None
) -> tuple[str, ...]:
    outcome = visible(outcome_words(task, earlier_run))
    if task.finished is None and not alive:
        outcome = Outcome.UNKNOWN
    if process is not None:
        outcome = process.status
    outcome = truncate(outcome, _OUTCOME_LIMIT)
    if not task.attempts:
        return (visible(task.name), outcome, "-", "-", "-", "-", "-", _NO_ATTEMPTS)
    attempt = task.attempts[-1]
    facts = attempt.exited or process
    return (
        visible(task.name),
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
        if task.running:
            return "running"
        again = task.attempts[-1].retrying if task.attempts else None
        return f"waiting for attempt {again.attempt}" if again else "waiting"
    if finished.outcome == Outcome.SUCCEEDED:
        reused = f": reused from {earlier_run or 'an earlier run'}" if finished.reused else ""
        return f"{finished.outcome}{reused}"
    exited = task.attempts[-1].exited if task.attempts else None
    why = error_words(exited) if exited and finished.outcome == Outcome.FAILED else ""
    allowed = ", allowed" if finished.allowed else ""
    return f"{finished.outcome}{allowed}: {format_reason(finished.reason)}{why}".replace("\n", " ")


def error_words(exited: TaskExited) -> str:
    """The exception that ended an attempt, where one did: ` (ValueError: no)`."""
    error = exited.error or {}
    told = [str(error[key]) for key in ("type", "message") if error.get(key)]
    return f" ({': '.join(told)})" if told else ""


def write(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    stream: TextIO,
    colour: bool | None = None,
    layout: Layout = TASKS,
) -> None:
    """Write a table; `colour` None asks the stream whether it is a terminal.

    On a terminal rich lays it out (120 ms to import), since it knows how to fold cells
    in a narrow one; a row takes it a hundred times as long.
    """
    if stream.isatty() and len(lines) <= MAX_ROWS:
        _write_rich(head, lines, stream, colour, layout)
    else:
        _write_plain(head, lines, stream, layout)


def _write_plain(head: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO, layout: Layout) -> None:
    widths = [max(map(display_width, column)) for column in zip(head, *lines, strict=True)]
    shown = [head, *lines]
    # A line-buffered stream, as stderr is, would write each row for itself.
    for begin in range(0, len(shown), _AT_A_TIME):
        rows = shown[begin : begin + _AT_A_TIME]
        stream.write("".join([_plain_row(row, widths, layout) for row in rows]))


def _plain_row(row: Sequence[str], widths: Sequence[int], layout: Layout) -> str:
    cells = [pad(cell, widths[place], right=place in layout.right) for place, cell in enumerate(row)]
    return "  ".join(cells).rstrip() + "\n"


def _write_rich(
    head: Sequence[str],
    lines: Sequence[Sequence[str]],
    stream: TextIO,
    colour: bool | None,
    layout: Layout,
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Without colours also without bold: NO_COLOR is set for those whom escape codes disturb.
    system: Literal["auto"] | None = None if colour is False else "auto"
    console = Console(file=stream, highlight=False, color_system=system, soft_wrap=False)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    places = _fitting(head, lines, console.width, layout)
    for place in places:
        justify: Literal["left", "right"] = "right" if place in layout.right else "left"
        table.add_column(head[place], justify=justify, overflow="fold", no_wrap=place not in layout.folded)
    for row in lines:
        style = STYLES.get(row[layout.styled].partition(":")[0], "")
        table.add_row(*(Text(row[place], style=style if place == layout.styled else "") for place in places))
    console.print(table)


def _fitting(
    head: Sequence[str], lines: Sequence[Sequence[str]], width: int, layout: Layout = TASKS
) -> list[int]:
    """The columns that a terminal of this width has room for, by their places."""
    needed = {}
    for place in range(len(head)):
        widest = max(display_width(row[place]) for row in (head, *lines))
        needed[place] = min(widest, _LEAST_TEXT) if place in layout.folded else widest
    for name in layout.given_up:
        # Two spaces and a line stand between two columns, a space at either end.
        if sum(needed.values()) + 3 * len(needed) - 1 > width and name in head:
            del needed[head.index(name)]
    return list(needed)

"""Tables of a run's tasks: with rich on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun import outcomes
from mprun.reporters.words import columns, size, span, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from mprun.state import RunState, TaskState

HEAD = ("TASK", "OUTCOME", "PID", "PPID", "TIME", "CPU", "MEMORY", "ATTEMPTS")
# From this column on, all are numbers.
FIRST_NUMBER = 2

STYLES = {
    outcomes.SUCCEEDED: "green",
    outcomes.FAILED: "bold red",
    outcomes.TIMED_OUT: "bold red",
    outcomes.UNKNOWN: "bold red",
    outcomes.STOPPED: "cyan",
    outcomes.SKIPPED: "yellow",
    outcomes.CANCELLED: "yellow",
}


def rows(state: RunState) -> list[tuple[str, ...]]:
    """A row for each task: those that ran in the order of their start, then the others."""
    tasks = sorted(state.tasks.values(), key=lambda task: not task.attempts)
    return [_row(task) for task in tasks]


def _row(task: TaskState) -> tuple[str, ...]:
    if not task.attempts:
        return (visible(task.name), visible(outcome_words(task)), "-", "-", "-", "-", "-", "0")
    attempt = task.attempts[-1]
    exited = attempt.exited
    return (
        visible(task.name),
        visible(outcome_words(task)),
        str(attempt.started.pid),
        str(attempt.started.ppid),
        span(exited.duration if exited else None),
        span(exited.cpu if exited else None),
        size(exited.max_rss if exited else None),
        str(len(task.attempts)),
    )


def outcome_words(task: TaskState) -> str:
    """A task's outcome and why: `failed: killed by SIGKILL`, `failed: exit 1 (ValueError: no)`."""
    finished = task.finished
    if finished is None:
        return "running" if task.attempts else "waiting"
    if finished.outcome == outcomes.SUCCEEDED:
        return finished.outcome
    exited = task.attempts[-1].exited if task.attempts else None
    error = exited.error if exited and finished.outcome == outcomes.FAILED else None
    why = f" ({error.get('type')}: {error.get('message')})" if error else ""
    return f"{finished.outcome}: {finished.reason}{why}".replace("\n", " ")


def write(
    head: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO, colour: bool | None = None
) -> None:
    """Write a table; `colour` None asks the stream whether it is a terminal.

    On a terminal rich lays it out (120 ms to import), since it knows how to fold cells
    in a narrow one.
    """
    if stream.isatty():
        _write_rich(head, lines, stream, colour)
    else:
        _write_plain(head, lines, stream)


def _write_plain(head: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO) -> None:
    widths = [max(columns(row[place]) for row in (head, *lines)) for place in range(len(head))]
    for row in (head, *lines):
        cells = [_padded(cell, widths[place], right=place >= FIRST_NUMBER) for place, cell in enumerate(row)]
        stream.write("  ".join(cells).rstrip() + "\n")


def _padded(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - columns(cell))
    return space + cell if right else cell + space


def _write_rich(
    head: Sequence[str], lines: Sequence[Sequence[str]], stream: TextIO, colour: bool | None
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1))
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place >= FIRST_NUMBER else "left", overflow="fold")
    for row in lines:
        style = STYLES.get(row[1].partition(":")[0], "") if len(row) > 1 else ""
        table.add_row(*(Text(cell, style=style if place == 1 else "") for place, cell in enumerate(row)))
    Console(file=stream, highlight=False, no_color=colour is False, soft_wrap=False).print(table)

"""Draws the process tree of a run: each process with its memory, CPU time, threads and status."""

from __future__ import annotations

import locale
import os
from operator import itemgetter
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.record import process_tree
from mprun.record.process_tree import PlainProcess
from mprun.reporters.format import display_width, format_duration, format_size, pad, truncate, widest
from mprun.reporters.plain_cells import plain_cells
from mprun.reporters.table import with_item
from mprun.reporters.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mprun.record.process_tree import AnyProcess, Process

HEAD = ("PROCESS", "PID", "MEMORY", "CPU", "THREADS", "DURATION", "STATUS")
# The columns that a narrow terminal leaves out, in this order.
_OPTIONAL = ("DURATION", "THREADS", "CPU", "MEMORY")
# Columns of a name, which with its branches takes at most half of the terminal; and of a status,
# which is cut at the end of the line.
_MAX_NAME_WIDTH = 40
_MIN_NAME_WIDTH = 12
_MIN_STATUS_WIDTH = 12
# Each write of many passes what looks for secrets and colours.
_ROWS_PER_WRITE = 100
_RED, _RESET = "\x1b[31m", "\x1b[0m"


class Pen:
    """The pieces of branches, and the ellipsis: in Unicode, or in ASCII."""

    def __init__(self, unicode: bool) -> None:
        self.branch, self.last, self.line = ("├─ ", "└─ ", "│  ") if unicode else ("|- ", "`- ", "|  ")
        self.ellipsis = "…" if unicode else "..."


def supports_unicode() -> bool:
    """Whether the user's encoding has the characters of branches; stdout itself is always UTF-8."""
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    try:
        "├─└│…".encode(encoding or locale.getencoding())
    except (LookupError, UnicodeError):
        return False
    return True


def write_tree(roots: Sequence[Process], stream: TextIO, colour: bool) -> None:
    """Write a line for each process, below that of its parent."""
    pen = Pen(supports_unicode())
    rows = [(False, "", HEAD), *((_is_bad(one), stem, _row(one, pen)) for one, stem in _lines(roots, pen))]
    width = terminal_width(stream)
    first, *others = _fitting(rows, width).items()
    # What is in the other columns is never wider than they are, and always ASCII.
    pattern = f"%-{first[1]}s" + "".join([f"  %{taken}s" for _, taken in others]) + "  %s\n"
    cells = itemgetter(*(column for column, _ in others), -1)
    for begin in range(0, len(rows), _ROWS_PER_WRITE):
        lines = []
        for bad, stem, row in rows[begin : begin + _ROWS_PER_WRITE]:
            line = pattern % (_first_cell(stem, row[0], first[1], pen), *cells(row))
            if width is not None:
                line = truncate(line[:-1], width, pen.ellipsis) + "\n"
            lines.append(f"{_RED}{line[:-1]}{_RESET}\n" if colour and bad else line)
        stream.write("".join(lines))


def _first_cell(stem: str, name: str, width: int, pen: Pen) -> str:
    # Each piece of a branch takes one column.
    if name.isascii() and len(stem) + len(name) <= width:
        return stem + name
    return pad(truncate(stem + name, width, pen.ellipsis), width)


def _lines(roots: Sequence[AnyProcess], pen: Pen) -> Iterator[tuple[AnyProcess, str]]:
    """Each process after its parent, with the branches in front of its name."""
    # A stack and not recursion: processes may be nested a thousand deep.
    waiting: list[tuple[AnyProcess, str, str]] = [(root, "", "") for root in reversed(roots)]
    while waiting:
        process, stem, below = waiting.pop()
        yield process, stem
        if not process.children:
            continue
        branch, line = pen.last, "   "
        for child in reversed(process.children):
            waiting.append((child, below + branch, below + line))
            branch, line = pen.branch, pen.line


def _row(process: AnyProcess, pen: Pen) -> tuple[str, ...]:
    name = process.name if process.item is None else "\n"
    if len(name) > _MAX_NAME_WIDTH or not name.isascii() or not name.isprintable():
        name = truncate(_name(process), _MAX_NAME_WIDTH, pen.ellipsis)
    if type(process) is PlainProcess:
        pid, _, duration, cpu, memory = plain_cells(process.task)
        threads = process.task.end[6]
        return (name, pid, memory, cpu, "-" if threads == "null" else threads, duration, process.status)
    return (
        truncate(_name(process), _MAX_NAME_WIDTH, pen.ellipsis),
        str(process.pid),
        format_size(process.max_rss),
        format_duration(process.cpu),
        "-" if process.threads is None else str(process.threads),
        format_duration(process.duration),
        visible(process.status or "-"),
    )


def _name(process: AnyProcess) -> str:
    name = visible(process.name.replace("\n", " "))
    if process.role == process_tree.DESCENDANT or (process.role == process_tree.ORPHAN != process.name):
        return f"({name})"
    name = with_item(name, process.item)
    if process.attempt is not None and process.attempt > 1:
        name = f"{name} attempt={process.attempt}"
    return f"{name} daemon" if process.daemon else name


def _is_bad(process: AnyProcess) -> bool:
    return bool(process.exit_code) and process.role == process_tree.TASK and not process.daemon


def _fitting(rows: Sequence[tuple[bool, str, tuple[str, ...]]], width: int | None) -> dict[int, int]:
    """The columns before the status for which the terminal has room: how wide each of them is."""
    first = max([len(stem) + display_width(row[0]) for _, stem, row in rows])
    _, *columns = zip(*[row for _, _, row in rows], strict=True)
    *needed, status = map(widest, columns)
    widths = dict(enumerate((first, *needed)))
    if width is None:
        return widths
    room = width - min(status, _MIN_STATUS_WIDTH)
    widths[0] = min(widths[0], max(width // 2, _MIN_NAME_WIDTH))
    for name in _OPTIONAL:
        if _total_width(widths) > room:
            del widths[HEAD.index(name)]
    if (too_wide := _total_width(widths) - room) > 0:
        widths[0] = max(widths[0] - too_wide, min(widths[0], _MIN_NAME_WIDTH))
    return widths


def _total_width(widths: dict[int, int]) -> int:
    """The width of these columns, with the two spaces after each."""
    return sum(widths.values()) + 2 * len(widths)

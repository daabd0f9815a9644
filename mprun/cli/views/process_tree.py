"""Draws the process tree of a run: each process with its memory, CPU time, threads and status."""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.record import process_tree
from mprun.reporters.format import display_width, format_duration, format_size, pad, truncate, widest
from mprun.reporters.table import with_item
from mprun.reporters.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mprun.record.process_tree import Process

HEAD = ("PROCESS", "PID", "MEMORY", "CPU", "THREADS", "DURATION", "STATUS")
# The columns that a narrow terminal leaves out, in this order.
_OPTIONAL = ("DURATION", "THREADS", "CPU", "MEMORY")
# Columns of a name, which with its branches takes at most half of the terminal; and of a status,
# which is cut at the end of the line.
_MAX_NAME_WIDTH = 40
_MIN_NAME_WIDTH = 12
_MIN_STATUS_WIDTH = 12
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
    drawn = [(_is_bad(process), stem, _row(process, pen)) for process, stem in _lines(roots, pen)]
    rows = [(False, "", HEAD), *drawn]
    width = terminal_width(stream)
    first, *others = _fitting([(stem, row) for _, stem, row in rows], width).items()
    # What is in these columns is never wider than they are, and always ASCII.
    pattern = "".join([f"  %{taken}s" for _, taken in others])
    columns = [column for column, _ in others]
    for bad, stem, row in rows:
        others_text = pattern % tuple([row[column] for column in columns])
        line = f"{_first_cell(stem, row[0], first[1], pen)}{others_text}  {row[-1]}"
        if width is not None:
            line = truncate(line, width, pen.ellipsis)
        stream.write(f"{_RED}{line}{_RESET}\n" if colour and bad else f"{line}\n")


def _first_cell(stem: str, name: str, width: int, pen: Pen) -> str:
    # Each piece of a branch takes one column.
    if name.isascii() and len(stem) + len(name) <= width:
        return f"{stem}{name}".ljust(width)
    return pad(truncate(stem + name, width, pen.ellipsis), width)


def _lines(roots: Sequence[Process], pen: Pen) -> Iterator[tuple[Process, str]]:
    """Each process after its parent, with the branches in front of its name."""
    # A stack and not recursion: processes may be nested a thousand deep.
    waiting = [(root, "", "") for root in reversed(roots)]
    while waiting:
        process, stem, below = waiting.pop()
        yield process, stem
        branch, line = pen.last, "   "
        for child in reversed(process.children):
            waiting.append((child, below + branch, below + line))
            branch, line = pen.branch, pen.line


def _row(process: Process, pen: Pen) -> tuple[str, ...]:
    return (
        truncate(_name(process), _MAX_NAME_WIDTH, pen.ellipsis),
        str(process.pid),
        format_size(process.max_rss),
        format_duration(process.cpu),
        "-" if process.threads is None else str(process.threads),
        format_duration(process.duration),
        visible(process.status or "-"),
    )


def _name(process: Process) -> str:
    name = visible(process.name.replace("\n", " "))
    if process.role == process_tree.DESCENDANT or (process.role == process_tree.ORPHAN != process.name):
        return f"({name})"
    name = with_item(name, process.item)
    if process.attempt is not None and process.attempt > 1:
        name = f"{name} attempt={process.attempt}"
    return f"{name} daemon" if process.daemon else name


def _is_bad(process: Process) -> bool:
    return process.role == process_tree.TASK and bool(process.exit_code) and not process.daemon


def _fitting(rows: Sequence[tuple[str, Sequence[str]]], width: int | None) -> dict[int, int]:
    """The columns before the status for which the terminal has room: how wide each of them is."""
    first = max(len(stem) + display_width(row[0]) for stem, row in rows)
    *needed, status = (widest([row[column] for _, row in rows]) for column in range(1, len(HEAD)))
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

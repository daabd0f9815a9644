"""Draws the process tree of a run: each process with its memory, CPU time, threads and status."""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.record import garbage_collector, process_tree
from mprun.record.found import THREADS
from mprun.record.process_tree import PlainProcess
from mprun.reporters.format import (
    column_widths,
    display_width,
    format_duration,
    format_size,
    pad,
    truncate,
)
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
    stems, rows, bad = _rows(roots, pen)
    garbage_collector.keep(rows)
    width = terminal_width(stream)
    first, *others = _fitting(stems, rows, width)
    # What is in the other columns is never wider than they are, and always ASCII; of one that is left out,
    # nothing is shown.
    rest = "".join([f"  %{taken}s" if taken else "%.0s" for taken in others]) + "  %s\n"
    patterns = {stem: f"{stem}%-{first - len(stem)}s{rest}" for stem in set(stems)}

    def line_of(stem: str, name: str, *cells: str) -> str:
        return f"%s{rest}" % (pad(_in_column(stem, name, first, pen), first), *cells)

    for begin in range(0, len(rows), _ROWS_PER_WRITE):
        end = begin + _ROWS_PER_WRITE
        lines = [
            patterns[stem] % row
            if len(stem) + len(row[0]) <= first and row[0].isascii()
            else line_of(stem, *row)
            for stem, row in zip(stems[begin:end], rows[begin:end], strict=True)
        ]
        if width is not None:
            lines = [truncate(line[:-1], width, pen.ellipsis) + "\n" for line in lines]
        if colour:
            for number in bad.intersection(range(begin, begin + len(lines))):
                lines[number - begin] = f"{_RED}{lines[number - begin][:-1]}{_RESET}\n"
        stream.write("".join(lines))


def _rows(roots: Sequence[Process], pen: Pen) -> tuple[list[str], list[tuple[str, ...]], set[int]]:
    """The head and each process: the branches in front of its name; its cells; which of them failed."""
    stems, rows = [""], list[tuple[str, ...]]([HEAD])
    bad: set[int] = set()
    for process, stem in _lines(roots, pen):
        stems.append(stem)
        if type(process) is not PlainProcess:
            if _is_bad(process):
                bad.add(len(rows))
            rows.append(_row(process, pen))
            continue
        # Here, and not in `_row`: a call for each of 100,000 takes a tenth of the time.
        name = process.task.name
        is_plain = process.item is None and name.isascii() and name.isprintable()
        if not is_plain or len(name) > _MAX_NAME_WIDTH:
            name = _shorten(_name(process), _MAX_NAME_WIDTH, pen)
        pid, _, duration, cpu, memory = plain_cells(process.task)
        threads = process.task.end[THREADS]
        threads = "-" if threads == "null" else threads
        rows.append((name, pid, memory, cpu, threads, duration, process.status))
    return stems, rows, bad


def _lines(roots: Sequence[AnyProcess], pen: Pen) -> Iterator[tuple[AnyProcess, str]]:
    """Each process after its parent, with the branches in front of its name."""
    # A stack and not recursion: processes may be nested a thousand deep.
    levels: list[tuple[Iterator[AnyProcess], AnyProcess | None, str]] = []
    for root in roots:
        yield root, ""
        levels.append((iter(root.children), root.children[-1] if root.children else None, ""))
        while levels:
            processes, last, stem = levels[-1]
            branch = stem + pen.branch
            for process in processes:
                yield process, branch if process is not last else stem + pen.last
                if children := process.children:
                    below = stem + (pen.line if process is not last else "   ")
                    levels.append((iter(children), children[-1], below))
                    break
            else:
                levels.pop()


def _row(process: AnyProcess, pen: Pen) -> tuple[str, ...]:
    return (
        _shorten(_name(process), _MAX_NAME_WIDTH, pen),
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


def _in_column(stem: str, name: str, width: int, pen: Pen) -> str:
    room = width - len(stem)
    return stem + _shorten(name, room, pen) if room > 3 else truncate(stem + name, width, pen.ellipsis)


def _shorten(name: str, width: int, pen: Pen) -> str:
    """A name without its middle if it is too wide: siblings and attempts differ at the end of their names."""
    if display_width(name) <= width:
        return name
    room = (width - len(pen.ellipsis)) // 2
    tail = name[len(name) - room :]
    while display_width(tail) > room:
        tail = tail[1:]
    return truncate(name, width - display_width(tail), pen.ellipsis) + tail


def _is_bad(process: AnyProcess) -> bool:
    return bool(process.exit_code) and process.role == process_tree.TASK and not process.daemon


def _fitting(stems: Sequence[str], rows: Sequence[tuple[str, ...]], width: int | None) -> list[int]:
    """How wide each column before the status is; 0 for those for which the terminal has no room."""
    _, *needed, status = column_widths(rows)
    # Each piece of a branch takes one column.
    first = max(
        [
            len(stem) + (len(row[0]) if row[0].isascii() else display_width(row[0]))
            for stem, row in zip(stems, rows, strict=True)
        ]
    )
    if width is None:
        return [first, *needed]
    widths = [min(first, max(width // 2, _MIN_NAME_WIDTH)), *needed]
    room = width - min(status, _MIN_STATUS_WIDTH)
    for name in _OPTIONAL:
        if _total_width(widths) > room:
            widths[HEAD.index(name)] = 0
    if (too_wide := _total_width(widths) - room) > 0:
        widths[0] = max(widths[0] - too_wide, min(widths[0], _MIN_NAME_WIDTH))
    return widths


def _total_width(widths: Sequence[int]) -> int:
    """The width of these columns, with the two spaces after each."""
    return sum([width + 2 for width in widths if width])

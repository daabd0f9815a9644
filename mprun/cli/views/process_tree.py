"""Draws the process tree of a run: each process with its memory, CPU time, threads and status."""

from __future__ import annotations

import locale
import os
from operator import itemgetter
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.record import garbage_collector, process_tree
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
    rows = _rows(roots, pen)
    garbage_collector.keep(rows)
    width = terminal_width(stream)
    first, *others = _fitting(rows, width).items()
    # What is in the other columns is never wider than they are, and always ASCII.
    pattern = f"%-{first[1]}s" + "".join([f"  %{taken}s" for _, taken in others]) + "  %s\n"
    cells = itemgetter(*(column for column, _ in others), -1)
    for begin in range(0, len(rows), _ROWS_PER_WRITE):
        lines = []
        for bad, stem, row in rows[begin : begin + _ROWS_PER_WRITE]:
            name = row[0]
            # Each piece of a branch takes one column.
            fits = len(stem) + len(name) <= first[1] and name.isascii()
            cell = stem + name if fits else pad(truncate(stem + name, first[1], pen.ellipsis), first[1])
            line = pattern % (cell, *cells(row))
            if width is not None:
                line = truncate(line[:-1], width, pen.ellipsis) + "\n"
            lines.append(f"{_RED}{line[:-1]}{_RESET}\n" if colour and bad else line)
        stream.write("".join(lines))


def _rows(roots: Sequence[Process], pen: Pen) -> list[tuple[bool, str, tuple[str, ...]]]:
    """The head, then each process: whether it failed, the branches in front of its name, and its cells."""
    rows: list[tuple[bool, str, tuple[str, ...]]] = [(False, "", HEAD)]
    for process, stem in _lines(roots, pen):
        if type(process) is not PlainProcess:
            rows.append((_is_bad(process), stem, _row(process, pen)))
            continue
        # Here, and not in `_row`: a call for each of 100,000 takes a tenth of the time.
        name = process.task.name
        if process.item is not None or len(name) > _MAX_NAME_WIDTH or not _is_plain(name):
            name = truncate(_name(process), _MAX_NAME_WIDTH, pen.ellipsis)
        pid, _, duration, cpu, memory = plain_cells(process.task)
        threads = process.task.end[6]
        row = (name, pid, memory, cpu, "-" if threads == "null" else threads, duration, process.status)
        rows.append((False, stem, row))
    return rows


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable()


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

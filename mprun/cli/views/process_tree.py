"""Who was whose child, drawn: each process with its memory, CPU time, threads, and how it ended."""

from __future__ import annotations

import locale
import os
from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.record import process_tree
from mprun.reporters.format import display_width, format_duration, format_size, pad, truncate
from mprun.reporters.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mprun.record.process_tree import Process

HEAD = ("PROCESS", "PID", "MEMORY", "CPU", "THREADS", "DURATION", "STATUS")
# What a narrow terminal has no room for, in the order in which it is given up; never the PID.
_GIVEN_UP = ("DURATION", "THREADS", "CPU", "MEMORY")
# A name is cut to this many columns, and with its branches to half of a terminal, or in a narrow
# one to fewer, down to the least; an end is cut, too, but has this many at least.
_NAME_LIMIT = 40
_LEAST_NAME = 12
_LEAST_END = 12
_RED, _RESET = "\x1b[31m", "\x1b[0m"


class Pen:
    """The pieces that branches are drawn with, and what stands for the rest of a text."""

    def __init__(self, fine: bool) -> None:
        self.branch, self.last, self.line = ("├─ ", "└─ ", "│  ") if fine else ("|- ", "`- ", "|  ")
        self.ellipsis = "…" if fine else "..."


def can_draw() -> bool:
    """Whether the reader's encoding has lines to draw with; our own is UTF-8 whatever the locale."""
    wished = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    try:
        "├─└│…".encode(wished or locale.getencoding())
    except (LookupError, UnicodeError):
        return False
    return True


def write_tree(roots: Sequence[Process], stream: TextIO, colour: bool) -> None:
    """Write a line for each process, below its parent."""
    pen = Pen(can_draw())
    drawn = [(_is_bad(process), _row(process, stem, pen)) for process, stem in _lines(roots, pen)]
    rows = [(False, HEAD), *drawn]
    width = terminal_width(stream)
    widths = _fitting([row for _, row in rows], width)
    for bad, row in rows:
        cells = [
            pad(truncate(row[place], taken, pen.ellipsis), taken, right=place > 0)
            for place, taken in widths.items()
        ]
        line = "  ".join([*cells, row[-1]])
        if width is not None:
            line = truncate(line, width, pen.ellipsis)
        stream.write(f"{_RED}{line}{_RESET}\n" if colour and bad else f"{line}\n")


def _lines(roots: Sequence[Process], pen: Pen) -> Iterator[tuple[Process, str]]:
    """Each process after its parent, with what is drawn in front of its name."""
    # A list of what is to come and no recursion: processes may be nested a thousand deep.
    waiting = [(root, "", "") for root in reversed(roots)]
    while waiting:
        process, stem, below = waiting.pop()
        yield process, stem
        branch, line = pen.last, "   "
        for child in reversed(process.children):
            waiting.append((child, below + branch, below + line))
            branch, line = pen.branch, pen.line


def _row(process: Process, stem: str, pen: Pen) -> tuple[str, ...]:
    return (
        stem + truncate(_name(process), _NAME_LIMIT, pen.ellipsis),
        str(process.pid),
        format_size(process.max_rss),
        format_duration(process.cpu),
        "-" if process.threads is None else str(process.threads),
        format_duration(process.duration),
        _end(process),
    )


def _name(process: Process) -> str:
    name = visible(process.name.replace("\n", " "))
    if process.role == process_tree.DESCENDANT:
        return f"({name})"
    if process.attempt is not None and process.attempt > 1:
        name = f"{name} attempt={process.attempt}"
    return f"{name} daemon" if process.daemon else name


def _end(process: Process) -> str:
    if process.suspended:
        return "running, suspended (SIGSTOP)"
    return "running" if process.running else visible(process.end or "-")


def _is_bad(process: Process) -> bool:
    return process.role == process_tree.TASK and bool(process.exit_code) and not process.daemon


def _fitting(rows: Sequence[Sequence[str]], width: int | None) -> dict[int, int]:
    """The columns before the end that a terminal of this width has room for, by their places: how wide."""
    *needed, end = (max(display_width(row[place]) for row in rows) for place in range(len(HEAD)))
    widths = dict(enumerate(needed))
    if width is None:
        return widths
    room = width - min(end, _LEAST_END)
    widths[0] = min(widths[0], max(width // 2, _LEAST_NAME))
    for name in _GIVEN_UP:
        if _taken(widths) > room:
            del widths[HEAD.index(name)]
    if (too_wide := _taken(widths) - room) > 0:
        widths[0] = max(widths[0] - too_wide, min(widths[0], _LEAST_NAME))
    return widths


def _taken(widths: dict[int, int]) -> int:
    """How many columns these take, with the two spaces after each of them."""
    return sum(widths.values()) + 2 * len(widths)

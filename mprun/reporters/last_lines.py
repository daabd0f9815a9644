"""The last lines of a task's log, also of one that is being written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.reporters.task_text import terminal_line, without_colours
from mprun.reporters.unfinished_line import without_half

if TYPE_CHECKING:
    from mprun.record.state_files import StateFile

# Longer lines than this, in bytes, are shown from where it begins.
MAX_BYTES = 4096


def last_lines(log: StateFile, count: int, max_bytes: int = MAX_BYTES) -> list[str]:
    r"""The last lines of a log that say something, at most `count`, without colours.

    No more than `max_bytes` of its end are read. The last one may be unfinished: a prompt, or the last
    state of a progress bar that `\r` moves back.
    """
    try:
        file = log.open()
    except OSError:
        return []
    try:
        size = os.fstat(file).st_size
        data = os.pread(file, max_bytes, max(0, size - max_bytes))
    except OSError:
        return []
    finally:
        os.close(file)
    if data[:1] == b"\0":
        data = data.lstrip(b"\0")
    lines = without_half(data).decode("utf-8", "backslashreplace").split("\n")
    shown = (without_colours(terminal_line(line, colour=True)).rstrip() for line in lines)
    return [line for line in shown if line.strip()][-count:]

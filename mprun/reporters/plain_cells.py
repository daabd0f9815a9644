"""The cells of tasks that just succeeded, by what a reader of a large record has found of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.record.found import CPU, DURATION, MAX_RSS, PID, PPID
from mprun.reporters.format import format_duration, format_size

if TYPE_CHECKING:
    from mprun.record.task_state import TaskState


class _Durations(dict[str, str]):
    """Seconds in short, by the first characters of a number without exponent that was recorded.

    They say how it is rounded if it is below 10 and its third decimal is not 5; else empty.
    """

    def __missing__(self, head: str) -> str:
        if head[1:2] != "." or head[4:5] == "5":
            return ""
        shown = self[head] = format_duration(float(head))
        return shown


class _Sizes(dict[str, str]):
    """Sizes in short, by the numbers that were recorded: multiples of a page, so there are few."""

    def __missing__(self, recorded: str) -> str:
        shown = format_size(None if recorded == "null" else int(recorded))
        if len(self) < _MAX_SIZES:
            self[recorded] = shown
        return shown


_MAX_SIZES = 4096
_durations, _sizes = _Durations(), _Sizes()


def plain_cells(task: TaskState) -> tuple[str, ...]:
    """Of a task with an `end`: pid, parent, duration, CPU time and memory; "-" for what is unknown."""
    start, end = task.start, task.end
    duration, cpu = end[DURATION], end[CPU]
    # In one expression: two calls more take a tenth of the time of all rows.
    return (
        start[PID],
        start[PPID],
        ("e" not in duration and _durations[duration[:5]]) or _duration(duration),
        ("e" not in cpu and _durations[cpu[:5]]) or _duration(cpu),
        _sizes[end[MAX_RSS]],
    )


def _duration(recorded: str) -> str:
    return format_duration(None if recorded == "null" else float(recorded))

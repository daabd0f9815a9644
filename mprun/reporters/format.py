"""The words and units that every view of a run shares."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Everything that moves a cursor, hides text or turns its direction.
_CONTROLS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"


def visible(text: str) -> str:
    r"""Text with its control characters as `\x1b`, so that it cannot act on a terminal."""
    # The pattern takes 7 ms to compile, and names and plain lines need none of it.
    if text.isprintable():
        return text
    return re.sub(_CONTROLS, lambda found: found[0].encode("unicode_escape").decode(), text)


# Why a task was stopped or a run ended, where the record has a name for it.
_REASONS = {
    "fail_fast": "fail-fast: another task failed",
    "log_limit": "log limit",
    "not_ready": "not ready in time",
    "record_lost": "the record could not be written",
    "run_ends": "end of the run",
    "run_timeout": "timeout of the run",
    "timeout": "timeout",
    "user": "on request",
}


def reason(recorded: str) -> str:
    """A reason of the record in words; one that has no name there is in words already."""
    return _REASONS.get(recorded, recorded)


def span(seconds: float | None) -> str:
    """A stretch of time, short: `0.41s`, `12.3s`, `3m07s`, `2h05m`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def local_time(time: str) -> str:
    """An event's time where the reader lives, to the millisecond: `2026-01-01 12:00:01.101`.

    What a damaged record has in its place is shown as it is.
    """
    from datetime import datetime

    try:
        return datetime.fromisoformat(time).astimezone().isoformat(" ", "milliseconds")[:23]
    except (ValueError, OverflowError):
        return visible(time[:23])


def size(count: int | None) -> str:
    """A number of bytes, short, in powers of 1000 as `ls --si` has them: `11MB`."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{unit}"


def count(number: int, thing: str, things: str = "") -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def named(names: Sequence[str], limit: int) -> str:
    """The first of many names: `a, b, c and 4 more`."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(visible, names[:limit])) + more


def headline(job: str, tasks: int, mode: str, at_once: int, cpus: int, start_method: str) -> str:
    """The first line of every view of a run or a plan: what it is, and under which numbers."""
    return (
        f"{visible(job)}: {count(tasks, 'task')}, {mode} "
        f"(at most {at_once} at once on {count(cpus, 'core')}), {start_method}"
    )


def resumed_from(run: str) -> str:
    """The line below it of a run that resumes another."""
    return f"resumed from {visible(run)}"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters two, marks none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )

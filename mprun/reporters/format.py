"""How values are written for people: durations, sizes, times, plurals, names, and cells of a given width."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import TASK_OUTCOMES, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def format_duration(seconds: float | None) -> str:
    """A duration in short: `0.41s`, `12.3s`, `3m07s`, `2h05m`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def seconds_since(time: str) -> float:
    """How long ago a time of an event is, in seconds; 0 for one that is damaged or in the future."""
    from datetime import UTC, datetime

    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def format_time(time: str) -> str:
    """An event's time in the local time zone, to the millisecond: `2026-01-01 12:00:01.101`.

    Text from a damaged record that is not a time is shown as it is.
    """
    from datetime import datetime

    try:
        return datetime.fromisoformat(time).astimezone().isoformat(" ", "milliseconds")[:23]
    except (ValueError, OverflowError):
        return visible(time[:23])


def format_size(size: int | None) -> str:
    """A number of bytes in short, in powers of 1000 as `ls --si` does: `11MB`."""
    if size is None:
        return "-"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f}{unit}" if value >= 10 or unit == "B" else f"{value:.1f}{unit}"


def format_percent(share: float) -> str:
    """A share, from 0 to 1, as a percentage with one decimal unless that is 0: `5.5 %`."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def plural(number: int, thing: str, things: str = "") -> str:
    """A number of things: `1 task`, `2 tasks`."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"


def join_names(names: Sequence[str], limit: int) -> str:
    """The first of many names: `a, b, c and 4 more`."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(visible, names[:limit])) + more


def counts_text(counts: Mapping[str, int], allowed: Mapping[str, int] | None = None, flaky: int = 0) -> str:
    """How many tasks had each outcome: `2 succeeded (1 flaky), 3 failed (1 allowed)`.

    `allowed` has the number of those that failed with `allow_failure`, and `flaky` is the number of those
    that succeeded only after they were retried.
    """
    of_them = {outcome: (number, "allowed") for outcome, number in (allowed or {}).items()}
    of_them[Outcome.SUCCEEDED] = (flaky, "flaky")
    return ", ".join(
        f"{counts[outcome]} {outcome}{_part(counts[outcome], *of_them.get(outcome, (0, '')))}"
        for outcome in (*TASK_OUTCOMES, Outcome.RUNNING)
        if outcome in counts
    )


def _part(count: int, part: int, what: str) -> str:
    return "" if not part else f" ({what})" if part == count else f" ({part} {what})"


def headline(job: str, tasks: int, mode: str, at_once: int, cpus: int, start_method: str) -> str:
    """The first line of every view of a run or a plan: the job, and the numbers that it runs by."""
    return (
        f"{visible(job)}: {plural(tasks, 'task')}, {visible(mode)} "
        f"(at most {at_once} at once on {plural(cpus, 'core')}), {visible(start_method)}"
    )


def resumed_line(run: str) -> str:
    """The second line of every view of a run that resumes another."""
    return f"resumed from {visible(run)}"


# ---- cells: text of a given width on a terminal


class _CharWidths(dict[str, int]):
    """The columns that a character takes, found when it is first asked for."""

    def __missing__(self, char: str) -> int:
        import unicodedata

        width = 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if len(self) < _MAX_CHARS:
            self[char] = width
        return width


# More characters than a text of any language has.
_MAX_CHARS = 10_000
_char_widths = _CharWidths()


def display_width(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for a combining mark."""
    return len(text) if text.isascii() else sum(map(_char_widths.__getitem__, text))


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """How many columns of a terminal the widest cell takes, for each column of a table."""
    # Not of all rows at once: then none of them is still in the processor's caches for the next column.
    begins = range(0, len(rows), _ROWS_AT_ONCE)
    parts = [[*map(_widest, zip(*rows[begin : begin + _ROWS_AT_ONCE], strict=True))] for begin in begins]
    return list(map(max, zip(*parts, strict=True)))


_ROWS_AT_ONCE = 1000


def _widest(texts: Sequence[str]) -> int:
    return max(map(len if "".join(texts).isascii() else display_width, texts))


def truncate(text: str, width: int, ellipsis: str = "…") -> str:
    """The text, if it takes at most so many columns; else its beginning and the ellipsis."""
    room = max(width - len(ellipsis), 0)
    if text.isascii():
        return text if len(text) <= width else text[:room] + ellipsis
    if len(text) <= 2 * width and display_width(text) <= width:
        return text
    taken = end = 0
    # No further than the width: the text may be a megabyte.
    for length, char in enumerate(text, start=1):
        taken += display_width(char)
        if taken <= room:
            end = length
        if taken > width:
            return text[:end] + ellipsis
    return text


def cut_inside(text: str, width: int, ellipsis: str = "…") -> str:
    """The text, if it takes at most so many columns; else its beginning, the ellipsis and its end.

    Names of instances may differ in either.
    """
    room = width - len(ellipsis)
    if len(text) <= width // 2 or display_width(text) <= width:
        return text
    if room < 2:
        return truncate(text, width, "")
    end = truncate(text[: -room - 1 : -1], room - room // 2, "")[::-1]
    # A mark that belongs to a character which is cut off.
    while end and not display_width(end[0]):
        end = end[1:]
    return truncate(text, room - display_width(end), "") + ellipsis + end


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text with spaces up to so many columns, after it or, with `right`, before it."""
    space = " " * (width - display_width(text))
    return space + text if right else text + space

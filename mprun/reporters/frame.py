"""What the live view draws: a pure function of the state of a run, the size of the terminal and the time.

━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━  17/50  1 failed  1 retrying  8 running  ≈ 40s left
  crunch[4]        12.4s  pid 4711  98 % cpu  212 MB  reading part 4 of 9
  … and 6 more running
  services: redis ready, web ready

rich does not draw it. Its `Live` counts the rows of its last frame, and leaves some of them behind where a
narrower terminal has wrapped them: after 80, 40 and 60 columns, tmux kept three of five for good. The rest
of it is a bar and columns, which are less code here than its options; to import it takes 18 ms, this view 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.frozen import Frozen
from mprun.reporters.format import cut_inside, display_width, format_duration, join_names, pad, truncate
from mprun.reporters.view_state import MAX_TASKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.reporters.view_state import RunningTask, ViewState

# A task that has run for a shorter time has none, in seconds: no one could read it.
MIN_SECONDS = 0.2
# The bar in columns; one that is shorter than the least says nothing.
BAR_WIDTH, LEAST_BAR_WIDTH = 33, 5
# From these widths on, in columns, there is room for CPU and memory, and for the pid.
USAGE_WIDTH, PID_WIDTH = 60, 72
_MAX_GROUPS, _MAX_WAITING = 20, 3

_GREEN, _RED, _DIM, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Style(Frozen):
    """Whether there are colours, and characters that are not ASCII."""

    colour: bool = True
    unicode: bool = True

    def paint(self, text: str, code: str) -> str:
        """The text in a colour, if there are any."""
        return f"{code}{text}{_RESET}" if self.colour and text else text

    @property
    def ellipsis(self) -> str:
        """What takes the place of what is left out."""
        return "…" if self.unicode else "..."


def frame(state: ViewState, size: tuple[int, int], now: float, style: Style) -> list[str]:
    """The rows of the view, for a terminal of `size`, columns and rows, at `now`, in seconds.

    There are at most two rows less than the terminal has, each a column shorter; and, if there is room,
    as many as `state.least_rows`, because a view that shrinks makes what is above it jump.
    """
    width, room = size[0] - 1, size[1] - 2
    if room < 1 or width < 1:
        return []
    first = _bar_row(state, width, style)
    below = (_wait_row, _group_row, _host_row, _service_row)
    last = [row for make in below if (row := make(state, width, style))][: max(0, room - 1)]
    tasks = _task_rows(state, width, room - 1 - len(last), now, style)
    rows = [first, *tasks, *last]
    return rows + [""] * (min(state.least_rows, room) - len(rows))


def _cut(text: str, width: int, style: Style) -> str:
    return truncate(text, width, style.ellipsis if width > len(style.ellipsis) else "")


def counts(state: ViewState) -> list[str]:
    """How far the run is, in parts, the most important one first."""
    total = f"{state.total:,}" if state.is_complete else f"{state.total:,}+"
    stopping = len(state.stopping)
    numbers = [
        (state.failed, "failed"),
        (len(state.retrying), "retrying"),
        (stopping, "stopping"),
        (len(state.running) - stopping, "running"),
    ]
    return [f"{state.done:,}/{total}", *(f"{number:,} {what}" for number, what in numbers if number)]


def time_left(state: ViewState, style: Style) -> str:
    """How long the run will still take; empty if unknown, or if the run takes longer than it did before."""
    if state.left is None or state.left <= 0:
        return ""
    return f"{'≈' if style.unicode else '~'} {_short_duration(state.left)} left"


def _bar_row(state: ViewState, width: int, style: Style) -> str:
    parts, left = counts(state), time_left(state, style)
    if left:
        parts.append(left)
    # The last ones can be seen in the rows below, too.
    while len(parts) > 2 and len("  ".join(parts)) > width:
        del parts[-2 if left else -1]
    text = _cut("  ".join(parts), width, style)
    bar = min(BAR_WIDTH, width - len(text) - 2)
    if bar < LEAST_BAR_WIDTH:
        return _red_failures(text, style)
    return f"{_bar(state, bar, style)}  {_red_failures(text, style)}"


def _red_failures(text: str, style: Style) -> str:
    parts = text.split("  ")
    return "  ".join(style.paint(part, _RED) if part.endswith(" failed") else part for part in parts)


def _bar(state: ViewState, width: int, style: Style) -> str:
    total = max(1, state.total)
    done, failed = min(state.done, total), min(state.failed, total)
    # A single failure can be seen.
    bad = -(-failed * width // total)
    full = max(bad, min(width, (done + failed) * width // total))
    rest = width - full
    filled = "━" if style.unicode else "#"
    if not style.unicode:
        empty = "-" * rest
    elif style.colour:
        empty = ("╺" + "━" * (rest - 1)) if rest else ""
    else:
        empty = "─" * rest
    return (
        style.paint(filled * (full - bad), _GREEN)
        + style.paint(filled * bad, _RED)
        + style.paint(empty, _DIM)
    )


def _wait_row(state: ViewState, width: int, style: Style) -> str:
    """The tasks that wait for tokens, those tokens first for which most do."""
    waits = sorted(state.waiting.items(), key=lambda wait: -len(wait[1]))
    texts = [f"{visible(tokens)}: {join_names(names, _MAX_WAITING)}" for tokens, names in waits]
    return _cut(f"  waiting for {'; '.join(texts)}", width, style) if texts else ""


def _group_row(state: ViewState, width: int, style: Style) -> str:
    """How many instances of each group have ended; groups of which none is left come last."""
    groups = [(name, done, failed, of) for name, (done, failed, of) in state.groups.items() if of > 1]
    if not groups:
        return ""
    groups.sort(key=lambda group: (group[1] + group[2] == group[3], -group[3]))
    texts = [
        f"{visible(name)} {done:,}/{of:,}" + (f" ({failed:,} failed)" if failed else "")
        for name, done, failed, of in groups[:_MAX_GROUPS]
    ]
    more = len(groups) - len(texts)
    texts += [f"{style.ellipsis} and {more} more groups"] if more else []
    return _cut(f"  {'  '.join(texts)}", width, style)


def _host_row(state: ViewState, width: int, style: Style) -> str:
    """How many tasks are running on each host, if there are several."""
    texts = [f"{visible(name)} {running:,} running" for name, running in state.hosts.items()]
    return _cut(f"  hosts: {', '.join(texts)}", width, style) if texts else ""


def _service_row(state: ViewState, width: int, style: Style) -> str:
    if not state.services:
        return ""
    # Those for which tasks still wait come first: the row may be too long.
    services = sorted(state.services.items(), key=lambda service: service[1] == "ready")
    texts = ", ".join(f"{visible(name)} {what}" for name, what in services)
    return _cut(f"  services: {texts}", width, style)


def shown_tasks(state: ViewState, now: float) -> list[RunningTask]:
    """The tasks that have a row, the one that has run for longest first."""
    return [task for task in state.longest_running() if now - task.began >= MIN_SECONDS]


def _task_rows(state: ViewState, width: int, room: int, now: float, style: Style) -> list[str]:
    if room < 1:
        return []
    running = len(state.running)
    most = min(MAX_TASKS, room)
    if running > most and most == room:
        # The last row says how many there are beside them.
        most -= 1
    shown = shown_tasks(state, now)[:most]
    rows = list(_rows_of(shown, width, now, style, has_hosts=bool(state.hosts)))
    if running > len(shown) == most:
        rows.append(_cut(f"  {style.ellipsis} and {running - most:,} more running", width, style))
    return rows


def _rows_of(
    tasks: Sequence[RunningTask], width: int, now: float, style: Style, *, has_hosts: bool
) -> Iterator[str]:
    hosts = [display_width(visible(task.host)) for task in tasks] if has_hosts else []
    host_width = min(max(hosts, default=0), width // 6)
    # Of tasks on other hosts it is not known.
    is_measured = not has_hosts or any(task.memory is not None for task in tasks)
    names = [visible(task.name) for task in tasks]
    name_width = min(max(map(display_width, names), default=0), max(4, width // 3))
    for name, task in zip(names, tasks, strict=True):
        cells = [
            f"  {pad(cut_inside(name, name_width, style.ellipsis), name_width)}",
            f"{_seconds(max(0.0, now - task.began)):>6}",
        ]
        if width >= PID_WIDTH:
            cells.append(f"pid {task.pid:<5}")
            if host_width:
                cells.append(pad(cut_inside(visible(task.host), host_width, style.ellipsis), host_width))
        if width >= USAGE_WIDTH and is_measured:
            cells.append("" if task.cpu is None else f"{task.cpu:.0f} % cpu")
            cells.append("" if task.memory is None else _memory(task.memory))
            cells[-2], cells[-1] = f"{cells[-2]:>9}", f"{cells[-1]:>6}"
        head = "  ".join(cells)
        yield _cut(f"{head}  {_line(task.line, style)}".rstrip(), width, style)


def _line(line: str, style: Style) -> str:
    shown = visible(line).strip()
    return shown if style.unicode else shown.encode("ascii", "backslashreplace").decode()


def _memory(size: int) -> str:
    value, unit = size / 1e6, "MB"
    if value >= 10_000:
        value, unit = value / 1e3, "GB"
    return f"{value:.0f} {unit}"


def _seconds(seconds: float) -> str:
    # With one digit, which can be read while it changes.
    return f"{seconds:.1f}s" if seconds < 60 else format_duration(seconds)


def _short_duration(seconds: float) -> str:
    """A duration that is only a guess: without fractions of a second."""
    return f"{seconds:.0f}s" if seconds < 60 else format_duration(seconds)

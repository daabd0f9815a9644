"""The failures that the report shows in full: reason, traceback, the end of the log, processes killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import redact, visible
from mprun.outcomes import BAD, format_exit, format_reason
from mprun.record.artifacts import artifacts
from mprun.record.state_dir import file_name
from mprun.reporters.format import format_duration, format_size, plural
from mprun.reporters.last_lines import last_lines
from mprun.reporters.process_names import named_pids
from mprun.reporters.report.report_data import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import AttemptState
    from mprun.reporters.report.report_data import TaskRow

# More failed tasks than this are in the table only.
MAX_FAILURES = 100
# The last lines of a log, and how much of its end is read for them, in bytes.
LOG_LINES = 100
_LOG_BYTES = 64 << 10
# The texts of one failure, and of all together, in bytes of the page.
_MAX_TEXT = 24 << 10
_MIN_TEXT = 1 << 10
_SMALL_PAGE, _LARGE_PAGE, _PER_TASK = 80 << 10, 1 << 20, 100


class Failure:
    """One failed task; `facts` are pairs of a word and its value, `cut` says what is not in its texts."""

    __slots__ = ("allowed", "command", "cut", "facts", "log", "name", "number", "outcome", "traceback", "why")

    def __init__(self, row: TaskRow, command: str) -> None:
        finished = row.task.finished
        self.number = row.number
        self.name = row.name
        self.outcome = row.outcome
        self.why = row.why
        self.allowed = finished is not None and finished.allowed
        self.facts: list[tuple[str, str]] = []
        self.traceback = ""
        self.log = ""
        self.cut = ""
        # Shows all of its log.
        self.command = command


def failed_rows(rows: Sequence[TaskRow], state: RunState) -> list[TaskRow]:
    """The tasks that failed; those that the run did not fail by are last, as they are allowed to."""
    bad = [row for row in rows if row.outcome in BAD]
    return sorted(bad, key=lambda row: bool(row.task.finished and row.task.finished.allowed))


def describe_failures(
    rows: Sequence[TaskRow], tasks: int, directory: RunDirectory, log_command: Callable[[str], str]
) -> list[Failure]:
    """The first of the failed tasks with their texts, which together have no more room than the page gives.

    `tasks` is the number of tasks of the run; `log_command` is what shows the log of a task.
    """
    chosen = rows[:MAX_FAILURES]
    total = max(_SMALL_PAGE, min(_LARGE_PAGE, tasks * _PER_TASK))
    room = max(_MIN_TEXT, min(_MAX_TEXT, total // max(1, len(chosen))))
    kept = artifacts(directory) if chosen else {}
    found = [_describe(row, directory, room, log_command) for row in chosen]
    for failure, row in zip(found, chosen, strict=True):
        if (path := kept.get(file_name(row.task.name))) is not None:
            failure.facts.append(("artifacts", shown(path, 400)))
    return found


def _describe(row: TaskRow, directory: RunDirectory, room: int, log_command: Callable[[str], str]) -> Failure:
    failure = Failure(row, shown(log_command(row.task.name), 400))
    attempts = row.task.attempts
    if not attempts:
        return failure
    attempt = attempts[-1]
    failure.facts = list(_facts(attempt, len(attempts)))
    exited = attempt.exited
    cut = []
    error = (exited.error if exited else None) or {}
    if text := error.get("traceback"):
        failure.traceback, is_cut = _end_of(visible(redact(str(text)), multiline=True).strip("\n"), room // 2)
        cut += ["the beginning of the traceback"] if is_cut else []
    log = directory.log_file(row.task.name, attempt.started.attempt)
    lines = last_lines(log, LOG_LINES + 1, _LOG_BYTES)
    text = "\n".join(lines[-LOG_LINES:])
    failure.log, is_cut = _end_of(redact(text), room - page_size(failure.traceback))
    if is_cut or len(lines) > LOG_LINES or log.size() > _LOG_BYTES:
        shown_lines = plural(len(failure.log.splitlines()), "line")
        cut.append(f"what the log has before its last {shown_lines}")
    failure.cut = " and ".join(cut)
    return failure


def _facts(attempt: AttemptState, attempts: int) -> Iterator[tuple[str, str]]:
    started, exited, stopping = attempt.started, attempt.exited, attempt.stopping
    yield "runs", shown(started.target, 300)
    yield "pid", f"{started.pid} (parent {started.ppid}) on {shown(started.host, 80)}"
    if attempts > 1:
        yield "attempts", str(attempts)
    if stopping is not None:
        yield "stopped with", shown(f"{stopping.signal} ({format_reason(stopping.reason)})")
    if exited is None:
        return
    words = format_exit(exited.exit_code, exited.signal, exited.core_dumped)
    yield "ended", shown(f"{words} after {format_duration(exited.duration)}")
    yield "used", f"{format_duration(exited.cpu)} CPU, {format_size(exited.max_rss)} memory"
    if exited.orphans:
        yield "orphans killed", shown(", ".join(named_pids(exited.orphans, exited.process_names)))
    if exited.left_running:
        left = ", ".join(named_pids(exited.left_running, exited.process_names))
        yield "left running, could not be killed", shown(left)


def page_size(text: str) -> int:
    """How many bytes a text has in the page, where its special characters are escaped."""
    special = sum(text.count(char) for char in "<>&'\"")
    return len(text.encode("utf-8", "backslashreplace")) + 4 * special


def _end_of(text: str, room: int) -> tuple[str, bool]:
    """The end of a text that has this many bytes in the page, whole lines if possible; whether it is cut."""
    if page_size(text) <= room:
        return text, False
    end = text
    while end and page_size(end) > room:
        end = end[len(end) // 8 + 1 :]
    # Not from the middle of a line, unless there is only one.
    first = end.find("\n") + 1
    return end[first:] if first < len(end) else end, True

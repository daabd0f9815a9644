"""The summary of a run for GitHub, in Markdown: the end of the run, a table of its tasks, and its failures.

Names, messages and output may be those of others. Outside of code blocks, each character that Markdown or
HTML could read is a character reference; in them, the fence is longer than any in the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.diagnostics import redact, visible
from mprun.outcomes import Outcome, format_reason
from mprun.reporters import table
from mprun.reporters.format import counts_text, format_duration, format_size, join_names, plural, truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState

# The rows of the table; failures come first.
MAX_ROWS = 500
# The directories for artifacts that are named.
MAX_ARTIFACTS = 50
# What is kept for the line that says what was cut, in bytes.
_RESERVE = 300
_MAX_WIDTH = 200
# So many hosts that were lost are named.
_MAX_HOSTS = 10
_HEAD = "| task | outcome | duration | cpu | memory | attempts |\n|---|---|--:|--:|--:|--:|\n"
# All that Markdown and its extensions, and HTML, could read: also links without brackets, and mentions.
_SPECIAL = re.compile(r"[&<>|`*_{}\[\]#!~\\@$^\"']|://|www\.", re.IGNORECASE)


def step_summary(
    state: RunState,
    failed: Sequence[TaskState],
    log_lines: Callable[[TaskState], list[str]],
    artifacts: Mapping[str, str],
    room: int,
) -> str:
    """The summary of a run that has ended, of at most so many bytes; what is cut is said.

    `failed` are the tasks that the run failed by, `log_lines` are the last lines of a task's log, and
    `artifacts` are the directories with what tasks have kept, by their names.
    """
    summary = _Text(room - _RESERVE)
    summary.add(_headline(state))
    repeats = _repeats(state)
    summary.add(repeats)
    # Of many copies, those that succeeded are in the counts.
    shown = _rows(state, failed, plain=not repeats)
    if shown:
        summary.add(_HEAD)
    rows = 0
    for task in shown[:MAX_ROWS]:
        # Half of the room is for the logs.
        if summary.size > room // 2 or not summary.add(_row(state, task)):
            break
        rows += 1
    if rows < len(shown):
        summary.add(f"\n{plural(len(shown) - rows, 'more task')} not shown.\n")
    for number, (name, path) in enumerate(artifacts.items()):
        if number == MAX_ARTIFACTS or not summary.add(f"\nArtifacts of {_code(name)}: {_code(path)}\n"):
            break
    done = 0
    for task in failed:
        if not summary.add(_failure(task, log_lines(task))):
            break
        done += 1
    if done < len(failed):
        logs = plural(len(failed) - done, "failed task")
        summary.add_anyway(
            f"\nCut: the logs of {logs} are not shown here; `mprun logs --failed` shows them.\n"
        )
    return summary.text if room > _RESERVE else ""


class _Text:
    """A text that grows to so many bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._parts: list[str] = []
        self.size = 0

    def add(self, text: str) -> bool:
        """Add a text if there is room for all of it; whether there was."""
        size = len(text.encode("utf-8", "backslashreplace"))
        if self.size + size > self._room:
            return False
        self.size += size
        self._parts.append(text)
        return True

    def add_anyway(self, text: str) -> None:
        """Add a short text for which room was kept."""
        self._parts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._parts)


def _headline(state: RunState) -> str:
    started, finished = state.started, state.finished
    job = started.job if started else "job"
    if finished is None:
        return f"### {escape_markdown(job)}\n\n"
    why = f" ({format_reason(finished.reason)})" if finished.reason else ""
    counts = counts_text(finished.counts, finished.allowed, finished.flaky)
    end = f"{finished.outcome}{why} in {format_duration(finished.duration)}: {counts}"
    return f"### {escape_markdown(job)}\n\n{escape_markdown(end, 1000)}\n\n{_lost_hosts(state)}"


def _lost_hosts(state: RunState) -> str:
    """The hosts that were lost: attempts on them ran again, or their tasks are unknown."""
    lost = [str(change.host) for change in state.host_changes if change.change == "lost"]
    return escape_markdown(f"Hosts lost: {join_names(lost, _MAX_HOSTS)}", 1000) + "\n\n" if lost else ""


def _repeats(state: RunState) -> str:
    """How often each task failed that the run has repeated, and how to repeat the first failure."""
    # Most runs repeat nothing.
    from mprun.record.copies import is_repeated, repeat_summary

    summary = repeat_summary(state) if is_repeated(state.started) else None
    if summary is None:
        return ""
    from mprun.reporters.repeat_table import cells, first_failure_line

    head, *rows = cells(summary)
    lines = [" | ".join(head).lower(), " | ".join(["---", *["--:"] * (len(head) - 1)])]
    lines += [" | ".join([_code(row[0]), *row[1:]]) for row in rows]
    table_text = "".join(f"| {line} |\n" for line in lines)
    return f"{table_text}\n{escape_markdown(first_failure_line(state, summary), 1000)}\n\n"


def _rows(state: RunState, failed: Sequence[TaskState], *, plain: bool) -> list[TaskState]:
    """The tasks that failed, those that are flaky or did not succeed and, if `plain`, the others."""
    names = {task.name for task in failed}

    def rank(task: TaskState) -> int:
        if task.name in names:
            return 0
        is_plain = task.outcome == Outcome.SUCCEEDED and not (task.finished and task.finished.flaky)
        return 2 if is_plain else 1

    return sorted((task for task in state.in_order() if plain or rank(task) < 2), key=rank)


def _row(state: RunState, task: TaskState) -> str:
    exited = task.attempts[-1].exited if task.attempts else None
    cells = (
        _code(table.with_item(task.name, state.items.get(task.name))),
        escape_markdown(table.outcome_words(task)),
        format_duration(exited.duration if exited else None),
        format_duration(exited.cpu if exited else None),
        format_size(exited.max_rss if exited else None),
        str(len(task.attempts)),
    )
    return f"| {' | '.join(cells)} |\n"


def _failure(task: TaskState, lines: list[str]) -> str:
    head = f"<summary>{_code(task.name)}: {escape_markdown(table.outcome_words(task))}</summary>"
    if not lines:
        return f"\n<details>{head}\n\nIt printed nothing.\n\n</details>\n"
    text = "\n".join(lines)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n<details>{head}\n\n{fence}text\n{text}\n{fence}\n\n</details>\n"


def _code(text: str) -> str:
    return f"<code>{escape_markdown(text)}</code>"


def escape_markdown(text: str, width: int = _MAX_WIDTH) -> str:
    """A text on one line as Markdown and HTML show it, and do not read it."""
    shown = truncate(visible(redact(text.replace("\n", " "))), width)
    return _SPECIAL.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), shown)

"""The lines of a large record that are kept of a task, which are parsed on demand."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any

from mprun.lean_json import decode
from mprun.record import task_state
from mprun.record.events import from_record
from mprun.record.line_scanner import success_matcher
from mprun.record.task_state import APPLIERS, TaskState

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

_match_success: Callable[[str], re.Match[str] | None] | None = None
# Near the end of the line of a task that has finished. Quotes in texts have a backslash before them.
_RESULT_KIND = ',"result_kind":'
_NO_RESULT = f'{_RESULT_KIND}"none"'
# Characters of the lines that are kept of a task. A daemon that restarts all the time has more, and
# to add to a long text takes as long as to copy it.
_MAX_LINES_LENGTH = 8192


def plain_success(task: TaskState) -> re.Match[str] | None:
    """What `success_matcher` finds of it; None if it did not just succeed, or its lines were not kept.

    For views of many tasks: there is more to a task for which this is None.
    """
    if not task.lines or task.outcome != "succeeded":
        return None
    global _match_success
    if _match_success is None:
        _match_success = success_matcher()
    return _match_success(task.lines)


def has_no_result(task: TaskState) -> bool:
    """Whether it is known, without parsing, that the result of its finished task is None."""
    tail = task.lines[task.lines.rfind(_RESULT_KIND) :]
    # A result may have such a key, too, with a brace after it.
    return tail.startswith(_NO_RESULT) and "}" not in tail and tail.index("\n") == len(tail) - 1


def add_line(task: TaskState, run: str, kind: str, time: str, facts: str, end: str) -> bool:
    """Add the events of a line that `line_finder` recognised; False if that is not possible: apply them.

    `run` is the id of the run.
    """
    lines = task.lines
    if not lines:
        if not task.begin_lines(run):
            return False
    elif len(lines) > _MAX_LINES_LENGTH:
        return False
    if end:
        task.lines = f"{lines}{kind}\n{time}\n{facts}\nfinished\n{time}\n{end}\n"
    else:
        task.lines = f"{lines}{kind}\n{time}\n{facts}\n"
        end = facts if kind == "finished" else ""
    if end:
        # `,"outcome":"succeeded","attempts": ...`
        task.outcome = intern(end[12 : end.index('"', 12)])
    return True


def _parse_lines(run: str, name: str, lines: str) -> TaskState:
    """The state of a task by the lines that are kept of it, with its events."""
    task = TaskState(name)
    parts = lines.split("\n")
    for kind, time, facts in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        event = event_of_line(run, kind, time, name, facts)
        APPLIERS[type(event)](task, event)
    return task


def event_of_line(run: str, kind: str, time: str, name: str, facts: str) -> Any:
    """The event of a line that `line_finder` recognised."""
    record = decode(f"{{{facts[1:]}}}")
    return from_record({"event": f"task_{kind}", "time": time, "run": run, "task": name, **record})


task_state.parse_lines = _parse_lines

"""The lines of a large record that are kept of a task, which are parsed on demand."""

from __future__ import annotations

from sys import intern
from typing import Any

from mprun.lean_json import decode
from mprun.record import task_state
from mprun.record.event_reader import from_record
from mprun.record.found import END_TIME, FINISHED, JOIN, START, Found
from mprun.record.task_state import APPLIERS, TaskState

# The start of the line in which a task gets its outcome, and what is between its name and its outcome.
_FINISHED = '{"event":"task_finished",'
_OUTCOME = '","outcome":"'
# Near the end of that line.
_NO_RESULT = ',"result_kind":"none"'
_TIME, _HOST, _TARGET = '"time":"', '"host":"', '"target":"'
_TICKS = '"start_ticks":'
# The lines of the exit and the end of a task that just succeeds; with all fields they are parsed faster.
_EXIT_LINE = (
    '{"event":"task_exited","time":"%s","run":"%s","task":"%s","attempt":1,"pid":%s,"exit_code":0,'
    '"signal":null,"core_dumped":false,"duration":%s,"cpu":%s,"max_rss":%s,"threads":%s,"error":null,'
    '"orphans":[],"left_running":[],"lost_output":0,"process_names":null}'
)
_END_LINE = '{"event":"task_finished","time":"%s","run":"%s","task":"%s"%s}'
_PLAIN_END = (
    ',"outcome":"succeeded","attempts":1,"reason":"","result":null,"result_kind":"none","allowed":false'
)
_PLAIN_END += ',"reused":false,"flaky":false'
# Characters of the lines that are kept of a task. A daemon that restarts all the time has more, and
# to add to a long text takes as long as to copy it.
_MAX_LINES_LENGTH = 8192


def has_no_result(task: TaskState) -> bool:
    """Whether it is known, without parsing, that the result of its finished task is None."""
    if task.end:
        return not task.end[FINISHED]
    last = task.lines[task.lines.rfind("\n", 0, -1) + 1 :]
    # A result may have such a key, too, with a brace after it.
    tail = last[last.rfind(',"result_kind":') :]
    return last.startswith(_FINISHED) and tail.startswith(_NO_RESULT) and tail.index("}") == len(tail) - 2


def add_line(task: TaskState, line: str, name_end: int) -> bool:
    """Add a line that `line_matcher` has matched; False if that is not possible: apply its event.

    `name_end` is where the name of the task ends in it.
    """
    if task.start:
        task.lines = "".join([f"{one}\n" for one in lines_of(task)])
        task.start = task.end = ()
    elif not task.begin_lines() or len(task.lines) > _MAX_LINES_LENGTH:
        return False
    task.lines += line + "\n"
    if line.startswith(_FINISHED):
        begin = name_end + len(_OUTCOME)
        task.outcome = intern(line[begin : line.index('"', begin)])
    return True


def lines_of(task: TaskState) -> list[str]:
    """The lines that are kept of a task; of one that just succeeds so far without defaults."""
    if not task.start:
        return task.lines.split("\n")[:-1]
    start = task.start[START]
    # `{"event":"task_started","time":"...","run":"...",...`
    run = start.split('"', 12)[11]
    return [start, *(lines_of_end(run, task.end) if task.end else ())]


def lines_of_end(run: str, found: Found) -> tuple[str, str]:
    """The lines of the exit and the end of a task that just succeeds, by what `success_finder` found."""
    time, name, *numbers, facts = found[END_TIME:JOIN]
    return _EXIT_LINE % (time, run, name, *numbers), _END_LINE % (time, run, name, facts or _PLAIN_END)


def time_of_line(line: str) -> str:
    """The time of a line that was recognised."""
    begin = line.index(_TIME) + len(_TIME)
    return line[begin : line.index('"', begin)]


def host_of_start(start: str) -> str:
    """The host in the line of the start of a task that just succeeds; no text in it has an escape."""
    begin = start.index(_HOST) + len(_HOST)
    return start[begin : start.index('"', begin)]


def target_of_start(start: str) -> str:
    """The target in such a line."""
    begin = start.index(_TARGET) + len(_TARGET)
    return start[begin : start.index('"', begin)]


def ticks_of_start(start: str) -> str:
    """The `start_ticks` in such a line, as JSON."""
    begin = start.index(_TICKS) + len(_TICKS)
    return start[begin : start.index(",", begin)]


def event_of_line(line: str) -> Any:
    """The event of a line that was recognised."""
    return from_record(decode(line))


def _parse_lines(task: TaskState) -> TaskState:
    """The state of a task by the lines that are kept of it, with its events."""
    parsed = TaskState(task.name)
    for line in lines_of(task):
        event = event_of_line(line)
        APPLIERS[type(event)](parsed, event)
    return parsed


task_state.parse_lines = _parse_lines

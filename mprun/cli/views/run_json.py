"""Shows one run, active or finished, from its record, as JSON."""

from __future__ import annotations

import json
import os
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.lean_json import encode_text
from mprun.outcomes import Outcome
from mprun.record import process_snapshot, reader
from mprun.record.artifacts import artifacts_by_task
from mprun.record.copies import repeat_summary
from mprun.record.error_details import read_details
from mprun.record.events import TaskExited, TaskFinished, TaskStarted
from mprun.record.found import CPU, DURATION, END_TIME, EXIT_PID, FINISHED, MAX_RSS, PID, PPID, START, THREADS
from mprun.record.not_shown import read_not_shown
from mprun.record.state_dir import log_name
from mprun.record.task_lines import host_of_start, target_of_start, ticks_of_start, time_of_line
from mprun.record.task_state import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from mprun.record.events import Event
    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import Folder
    from mprun.record.task_state import AttemptState

# Each write passes what looks for characters that cannot be seen.
_TASKS_PER_WRITE = 100


def show_json(directory: RunDirectory, state: RunState, stream: TextIO) -> None:
    """Write the run as one JSON object, some tasks at a time: in memory, a task takes 10 KB.

    `outcome` is the run's, or `running`; `now` is a snapshot of a task's running process. `not_shown` says
    what no one has read of what the run has shown, null if that is nothing.
    """
    outcome = reader.run_outcome(directory, state)
    seen = process_snapshot.snapshot_tasks(state) if outcome == Outcome.RUNNING else {}
    run, finished = state.started, state.finished
    stream.write(f'{{\n  "outcome": {_indented(outcome)},\n  "run": {_indented(run and run.to_record())},')
    stream.write('\n  "tasks": [')
    tasks = _Tasks(directory, state)
    known = [*state.in_order(), *map(TaskState, state.not_begun())]
    texts = (tasks.text(task, seen.get(task.name)) for task in known)
    comma = ""
    while some := ",\n    ".join(islice(texts, _TASKS_PER_WRITE)):
        stream.write(f"{comma}\n    {some}")
        comma = ","
    stream.write("\n  ]" if comma else "]")
    summary = repeat_summary(state)
    stream.write(f',\n  "repeat": {_indented(summary and summary.to_json())}')
    changes = [change.to_record() for change in state.host_changes]
    stream.write(f',\n  "host_changes": {_indented(changes)}')
    stream.write(f',\n  "finished": {_indented(finished and finished.to_record())}')
    stream.write(f',\n  "not_shown": {_indented(read_not_shown(directory) or None)}\n}}\n')


class _Tasks:
    """The tasks of a run as JSON."""

    def __init__(self, directory: RunDirectory, state: RunState) -> None:
        self._directory = directory
        self._items = state.items
        self._artifacts = artifacts_by_task(directory, state)
        self._logs = os.path.abspath(directory.logs.path)
        self._log_names = _names_in(directory.logs)
        self._plain: Callable[[tuple[str, ...]], str] | None = None

    def text(self, task: TaskState, process: process_snapshot.ProcessSnapshot | None) -> str:
        """One task, with the process that it has now."""
        name = task.name
        if not task.end or task.end[FINISHED] or process is not None:
            value = {
                "artifacts": self._artifacts.get(name),
                "item": self._items.get(name),
                "now": process and process.to_dict(),
            }
            return _indented({**task_to_json(task), **self._files_of(task), **value}, 2)
        if self._plain is None:
            self._plain = _plain_text(task.start[START])
        start, end = task.start, task.end
        line, text = start[START], f'"{name}"'
        artifacts, item = self._artifacts.get(name), self._items.get(name)
        return self._plain(
            (
                *(text, f'"{time_of_line(line)}"', text, start[PID], start[PPID], ticks_of_start(line)),
                *(f'"{host_of_start(line)}"', f'"{target_of_start(line)}"', f'"{end[END_TIME]}"', text),
                *(end[EXIT_PID], _number(end[DURATION]), _number(end[CPU]), end[MAX_RSS], end[THREADS]),
                *(_text(self._log(name, 1)), _text(artifacts), _text(item)),
            )
        )

    def _files_of(self, task: TaskState) -> dict[str, Any]:
        """What the files of a task's last attempt add to its events: its exception and its log."""
        last = task.attempts[-1] if task.attempts else None
        if last is None:
            return {"error": None, "log": None}
        number, error = last.started.attempt, None
        if last.exited is not None and last.exited.error is not None:
            error = read_details(self._directory.result_files(task.name, number))
        return {"error": error and error.to_dict(), "log": self._log(task.name, number)}

    def _log(self, task: str, attempt: int) -> str | None:
        """The absolute path of the log of an attempt; None if there is none."""
        if attempt < 1:
            return None
        name = log_name(task, attempt)
        return f"{self._logs}/{name}" if name in self._log_names else None


def _names_in(folder: Folder) -> frozenset[str]:
    """What is in a directory, looked up once and not for each task; nothing if it cannot be read."""
    try:
        return frozenset(folder.names())
    except OSError:
        return frozenset()


def _plain_text(start: str) -> Callable[[tuple[str, ...]], str]:
    """What makes the text of a task that just succeeded of its facts, each of which is JSON, in order.

    It is made of the text of such a task, and so the same as by `_indented`, in a quarter of the time.
    `start` is the line of its start.
    """
    run = start.split('"', 12)[11]
    # A text that is in no other part of it.
    mark: Any = "\0"
    task = TaskState(mark)
    stamp = {"time": mark, "run": run, "task": mark, "attempt": 1, "pid": mark}
    own = {"ppid": mark, "start_ticks": mark, "host": mark, "daemon": False, "target": mark}
    used = {"duration": mark, "cpu": mark, "max_rss": mark, "threads": mark}
    task.add_attempt(TaskStarted(**stamp, **own))
    task.attempts[0].exited = TaskExited(**stamp, **used, exit_code=0, signal=None, error=None, orphans=())
    task.finish(TaskFinished(time="", run=run, task=mark, outcome="succeeded", attempts=1, reason=""))
    value = {"error": None, "log": mark, "artifacts": mark, "item": mark, "now": None}
    text = _indented({**task_to_json(task), **value}, 2)
    return text.replace("%", "%%").replace(encode_text(mark), "%s").__mod__


def _number(recorded: str) -> str:
    """A number of seconds, or null, as JSON has it: another program may have written another zero."""
    return recorded if recorded == "null" else repr(float(recorded))


def _text(value: str | None) -> str:
    return "null" if value is None else encode_text(value)


def _indented(value: Any, depth: int = 1) -> str:
    """A value inside a JSON object, at this depth; strings in JSON contain no line feeds."""
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n" + "  " * depth)


def task_to_json(task: TaskState) -> dict[str, Any]:
    """The task as one JSON object, for `--json`."""
    attempts, finished = task.attempts, task.finished
    return {
        "task": task.name,
        "outcome": finished.outcome if finished else None,
        "reason": finished.reason if finished else None,
        "result": finished.result if finished else None,
        "result_kind": finished.result_kind if finished else None,
        "reused": finished.reused if finished else None,
        "flaky": finished.flaky if finished else None,
        "attempts": [
            {name: fact and fact.to_record() for name, fact in _facts_of(attempt).items()}
            for attempt in attempts
        ],
    }


def _facts_of(attempt: AttemptState) -> dict[str, Event | None]:
    return {
        "started": attempt.started,
        "ready": attempt.ready,
        "stopping": attempt.stopping,
        "exited": attempt.exited,
        "retrying": attempt.retrying,
    }

"""Shows what the tasks of a run printed, from their logs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from mprun.cli.messages import note, warn, write
from mprun.clock import Clock
from mprun.diagnostics import quote, suggest, visible
from mprun.errors import UsageError
from mprun.jobfile.names import compile_glob
from mprun.outcomes import BAD
from mprun.record.commands import command
from mprun.record.copies import without_copy
from mprun.reporters.door import json_text
from mprun.reporters.format import format_time, join_names, plural
from mprun.reporters.tail import LineSplitter, Tail
from mprun.reporters.terminal import MAIN, Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState

# How many tasks a message names.
_MAX_NAMES = 5
_RUN_IS_GONE = "which ran in an earlier run that is gone"

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Selection:
    """The tasks that the user names: by name, by group or by pattern; all tasks without a name.

    A group is found by the names of its tasks: `fit` means `fit[n=1]` and `fit/train`, as in
    the job file. `attempt` is the only attempt to show, and `tail` how many lines of each log,
    None for all.
    """

    def __init__(self, words: Sequence[str], attempt: int | None = None, tail: int | None = None) -> None:
        self.words = words
        self.attempt = attempt
        self.tail = tail
        self._patterns = {word: compile_glob(word) for word in words if {"*", "?"} & set(word)}

    def takes(self, task: str) -> bool:
        """Whether a task is selected."""
        return not self.words or any(self._matches(word, task) for word in self.words)

    def of(self, tasks: Sequence[str]) -> list[str]:
        """The selected tasks, in the order of the words, each once."""
        found = [task for word in self.words or ("*",) for task in self._matching(word, tasks)]
        return list(dict.fromkeys(found))

    def unmatched(self, tasks: Sequence[str]) -> list[str]:
        """The words that match none of the tasks."""
        return [word for word in self.words if not self._matching(word, tasks)]

    def _matching(self, word: str, tasks: Sequence[str]) -> Sequence[str]:
        if word == "*":
            return tasks
        if word not in self._patterns:
            # Without the call for most tasks: it takes ten times as long.
            tasks = [task for task in tasks if task.startswith(word)]
        return [task for task in tasks if self._matches(word, task)]

    def _matches(self, word: str, task: str) -> bool:
        # As if it were one of `names_of`, which takes ten times as long.
        if word == "*" or word == task:
            return True
        if word and task.startswith(word) and (task[len(word)] in "[/" or without_copy(task) == word):
            return True
        return word in self._patterns and any(self._patterns[word](name) for name in names_of(task))


def names_of(task: str) -> Iterator[str]:
    """The names of the groups that a task is in, the largest first, and its own name."""
    for index, char in enumerate(task):
        if char in "[/" and index:
            yield task[:index]
    if (repeated := without_copy(task)) != task:
        yield repeated
    yield task


class Printer:
    """Writes logs to stdout, with the task's name in front of each line unless it is the only one."""

    def __init__(
        self,
        words: Sequence[str],
        names: Sequence[str],
        *,
        as_json: bool = False,
        timestamps: bool = False,
    ) -> None:
        self._words = words
        self._as_json = as_json
        self._timestamps = timestamps
        # Whether what is read now was printed a moment ago, so that its time is known. Not in the
        # first look at the logs, even for lines that are added to them meanwhile.
        self.live = False
        self._plain = Output((), prefix=False, on_error=_raise)
        self._named = Output(names, on_error=_raise)
        self._lines: dict[tuple[str, int], LineSplitter] = {}

    @property
    def broken(self) -> bool:
        """Whether stdout has failed, or its reader is gone."""
        return self._plain.broken or self._named.broken

    def write(self, task: str, attempt: int, tail: Tail, *, to_end: bool = False) -> None:
        """Write what was added to an attempt's log since the last call; `attempt` is 0 for `main`."""
        if self._as_json:
            pieces = tail.read_bytes(to_end=to_end)
            self._plain.write_exactly(self._objects(task, attempt, pieces, to_end))
        elif list(self._words) != [task]:
            self._write_lines(self._named, task, tail, to_end)
        elif self._plain.exact and not self._timestamps:
            self._plain.write_exactly(tail.read_bytes(to_end=to_end))
        else:
            self._write_lines(self._plain, task, tail, to_end)

    def _write_lines(self, output: Output, task: str, tail: Tail, to_end: bool) -> None:
        if self._timestamps:
            output.write(task, map(self._stamped, tail.read(to_end=to_end)))
        elif to_end:
            output.write(task, tail.read(to_end=True))
        else:
            output.write_new(task, tail, time.monotonic)

    def _stamped(self, lines: bytes) -> bytes:
        """Whole lines, with the time in front; `-` for lines of which no one knows it."""
        clock = Clock()
        seen = format_time(clock.iso(clock.now()))[11:] if self.live else "-"
        stamp = f"{seen:<12} ".encode()
        return stamp + lines[:-1].replace(b"\n", b"\n" + stamp) + b"\n"

    def separate(self, heading: str) -> None:
        """Write a heading for the next attempt to stderr; JSON objects have the attempt anyway."""
        if self._as_json:
            return
        self._plain.end_line()
        self._named.end_line_before_stderr()
        sys.stdout.flush()
        write(f"--- {visible(heading)} ---")

    def stop(self) -> None:
        """Write nothing more, because the reader of stdout is gone."""
        self._plain.broken = True

    def _objects(self, task: str, attempt: int, pieces: Iterator[bytes], to_end: bool) -> Iterator[bytes]:
        """The pieces as bytes, with one JSON object per line of output."""
        lines = self._lines.setdefault((task, attempt), LineSplitter())
        for piece in pieces:
            yield b"".join(_object(task, attempt, *line) for line in lines.split(piece))
        if to_end:
            yield b"".join(_object(task, attempt, *line) for line in lines.end())
            del self._lines[task, attempt]


def _raise(error: OSError) -> None:
    # It ends the command, as with every other command whose output cannot be written.
    raise error


def _object(task: str, attempt: int, line: bytes, more: bool) -> bytes:
    value = {"task": task, "attempt": attempt or None, "line": line.decode("utf-8", "backslashreplace")}
    text = json_text(_to_json({**value, "more": True} if more else value)) + "\n"
    return text.encode("utf-8", "backslashreplace")


def known_tasks(state: RunState) -> list[str]:
    """The tasks of a run that have a log, and `main`, which may also be the name of a task."""
    return [MAIN, *filter(MAIN.__ne__, state.tasks)]


def show_logs(
    directory: RunDirectory,
    state: RunState,
    selection: Selection,
    *,
    failed: bool = False,
    as_json: bool = False,
    timestamps: bool = False,
) -> None:
    """Write what tasks printed, one task after another; with `failed`, only of tasks that failed."""
    known = known_tasks(state)
    require_matches(directory, selection, state)
    wanted = selection.of(known)
    if failed:
        wanted = [task for task in wanted if task in state.tasks and state.tasks[task].outcome in BAD]
        if not wanted:
            note(f"no task failed in run {directory.run_id}")
            return
    origins = _origins(directory, state, wanted)
    if origins and not selection.words and not failed:
        runs = dict.fromkeys(
            f"`{command(origin, 'logs', '--run', origin.run_id)}`" for origin, _ in origins.values()
        )
        note(f"without {plural(len(origins), 'task')} that ran in an earlier run: {', '.join(runs)}")
        wanted = [task for task in wanted if task not in origins]
        origins = {}
    printer = Printer(selection.words, wanted, as_json=as_json, timestamps=timestamps)
    found = [
        (task, attempt)
        for task in wanted
        for attempt in _attempts(
            origins[task][1] if task in origins else state,
            selection,
            task,
            imports=task == MAIN and not failed,
        )
    ]
    if selection.attempt is not None and not found:
        raise UsageError(f"run {directory.run_id} has no attempt {selection.attempt} of these tasks")
    counts = Counter(task for task, _ in found)
    for task, attempt in found:
        if printer.broken:
            return
        source = origins[task][0] if task in origins else directory
        if counts[task] > 1:
            printer.separate(f"{task}: attempt {attempt}")
        elif source is not directory:
            printer.separate(f"{task}: reused from run {source.run_id}")
        log = source.log_file(task, attempt)
        if flaw := log.flaw():
            warn(f"{log.path} is not shown: {flaw}")
        tail = Tail(log, lines=selection.tail)
        printer.write(task, attempt, tail, to_end=True)
        tail.close()


def _origins(
    directory: RunDirectory, state: RunState, tasks: Sequence[str]
) -> dict[str, tuple[RunDirectory, RunState]]:
    """For each of the tasks that an earlier run ran: that run, if its record is still there."""
    known = [(name, state.tasks[name]) for name in tasks if name in state.tasks]
    reused = [name for name, task in known if task.finished and task.finished.reused and not task.attempts]
    found: dict[str, tuple[RunDirectory, RunState]] = {}
    if reused:
        # Only a run that was resumed needs it.
        from mprun.record.resume import read_lineage

        for origin in read_lineage(directory, state):
            for name in reused:
                if name not in found and name in origin[1].tasks and origin[1].tasks[name].attempts:
                    found[name] = origin
        removed: dict[str, list[str]] = {}
        for name in reused:
            if name in found:
                continue
            run, unchanged = _unchanged_since(directory, state.tasks[name])
            if unchanged is not None:
                found[name] = unchanged
            else:
                removed.setdefault(run, []).append(name)
        for run, names in removed.items():
            where = f"whose output was in run {run}, which was removed" if run else _RUN_IS_GONE
            note(f"without {join_names(names, _MAX_NAMES)}, {where}")
    return found


def _unchanged_since(
    directory: RunDirectory, task: TaskState
) -> tuple[str, tuple[RunDirectory, RunState] | None]:
    """The run that ran a task which was skipped as unchanged, None if its record is gone; and its name.

    The name is empty if no run says it.
    """
    from mprun.record.reader import read_state
    from mprun.record.state_dir import is_run_id
    from mprun.scheduling.retry import UNCHANGED

    name, run = task.name, ""
    seen = {directory.run_id}
    while True:
        reason = task.finished.reason if task.finished else ""
        earlier = reason.removeprefix(UNCHANGED)
        if earlier == reason or not is_run_id(earlier) or earlier in seen:
            return run, None
        run = earlier
        seen.add(run)
        origin = directory.beside(run)
        if not origin.has_record():
            return run, None
        state, _ = read_state(origin)
        if name not in state.tasks:
            return "", None
        if state.tasks[name].attempts:
            return run, (origin, state)
        # It has skipped the task as well.
        task = state.tasks[name]


def require_matches(directory: RunDirectory, selection: Selection, state: RunState) -> None:
    """Raise UsageError for the first word that matches no task that has a log."""
    for word in selection.unmatched(known_tasks(state)):
        message = what_lacks_a_log(directory, word, state)
        if not _is_planned(word, state):
            # Most words are tasks.
            from mprun.record.state_dir import is_run_id

            names = {name for task in (MAIN, *state.known_names()) for name in names_of(task)}
            remedy = f"write `--run {word}`" if is_run_id(word) else suggest(word, names, "tasks")
            message = f"{message}; {remedy}"
        raise UsageError(message)


def what_lacks_a_log(directory: RunDirectory, word: str, state: RunState) -> str:
    """Why a word matches no task that has a log: it has not started, or there is none of this name."""
    if _is_planned(word, state):
        return f"task {quote(word)} of run {directory.run_id} has not started"
    return f"run {directory.run_id} has no task {quote(word)}"


def _is_planned(word: str, state: RunState) -> bool:
    return bool(Selection([word]).of(state.known_names()))


def _attempts(state: RunState, selection: Selection, task: str, *, imports: bool) -> list[int]:
    """The attempts of a task whose logs are shown; with `imports`, first 0, for that of the imports."""
    first = [0] if imports and selection.attempt is None else []
    attempts = state.tasks[task].attempts if task in state.tasks else ()
    numbers = [attempt.started.attempt for attempt in attempts]
    return first + [number for number in numbers if selection.attempt in (None, number)]

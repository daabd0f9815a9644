"""What the tasks of a run printed, read from their logs: of a run that is over, or of one that goes on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from mprun.diagnostics import quote, suggest, visible
from mprun.errors import UsageError
from mprun.jobfile.dependencies import compile_glob
from mprun.reporters import github
from mprun.reporters.tail import SourceLines, Tail
from mprun.reporters.terminal import MAIN, Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.state_dir import RunDirectory

_to_json = json.JSONEncoder(ensure_ascii=False).encode


class Selection:
    """The tasks that are asked for: by name, by the name of a group, by a pattern; all where none is.

    What a record says of groups are the names of their tasks: `fit` means `fit[n=1]`, and
    also `fit/train`, as in the job file.
    """

    def __init__(self, words: Sequence[str], attempt: int | None = None) -> None:
        self.words = words
        self.attempt = attempt
        self._patterns = {word: compile_glob(word) for word in words if {"*", "?"} & set(word)}

    def takes(self, task: str) -> bool:
        """Whether a task is asked for."""
        return not self.words or any(self._means(word, task) for word in self.words)

    def of(self, tasks: Sequence[str]) -> list[str]:
        """Those tasks that are asked for, in the order of the words, each once."""
        words = self.words or ("*",)
        return list(dict.fromkeys(task for word in words for task in tasks if self._means(word, task)))

    def meaningless(self, tasks: Sequence[str]) -> list[str]:
        """The words that mean none of the tasks."""
        return [word for word in self.words if not any(self._means(word, task) for task in tasks)]

    def _means(self, word: str, task: str) -> bool:
        names = list(names_of(task))
        if word in names or word == "*":
            return True
        return word in self._patterns and any(self._patterns[word](name) for name in names)


def names_of(task: str) -> Iterator[str]:
    """A task's name and those of the groups that it is in, the widest first."""
    for place, char in enumerate(task):
        if char in "[/" and place:
            yield task[:place]
    yield task


class Printer:
    """Writes tasks' logs to stdout: that of the only one that was named as it is, others with names."""

    def __init__(self, words: Sequence[str], names: Sequence[str], *, as_json: bool = False) -> None:
        self._words = words
        self._as_json = as_json
        self._plain = Output((), prefix=False, on_error=_refuse)
        self._named = Output(names, on_error=_refuse)
        self._lines: dict[tuple[str, int], SourceLines] = {}

    @property
    def broken(self) -> bool:
        """Whether nobody reads any more."""
        return self._plain.broken or self._named.broken

    def write(self, task: str, attempt: int, tail: Tail, *, to_end: bool = False) -> None:
        """Write what was added to an attempt's log since the last time; `attempt` is 0 for `main`."""
        if self._as_json:
            pieces = tail.read_bytes(to_end=to_end)
            self._plain.write_exactly(self._objects(task, attempt, pieces, to_end))
        elif list(self._words) != [task]:
            self._named.write(task, tail.read(to_end=to_end))
        elif self._plain.exact:
            self._plain.write_exactly(tail.read_bytes(to_end=to_end))
        else:
            self._plain.write(task, tail.read(to_end=to_end))

    def separate(self, task: str, attempt: int) -> None:
        """Say on stderr that what follows is another attempt's; a JSON object says so itself."""
        if self._as_json:
            return
        self._plain.end_line()
        sys.stdout.flush()
        sys.stderr.write(f"--- {visible(task)}: attempt {attempt} ---\n")
        sys.stderr.flush()

    def leave(self) -> None:
        """Nobody reads any more."""
        self._plain.broken = True

    def _objects(self, task: str, attempt: int, pieces: Iterator[bytes], to_end: bool) -> Iterator[bytes]:
        """A JSON object a line, as bytes."""
        lines = self._lines.setdefault((task, attempt), SourceLines())
        for piece in pieces:
            yield b"".join(_object(task, attempt, *line) for line in lines.take(piece))
        if to_end:
            yield b"".join(_object(task, attempt, *line) for line in lines.end())
            del self._lines[task, attempt]


def _refuse(error: OSError) -> None:
    # As of every other report that cannot be written.
    raise error


def _object(task: str, attempt: int, line: bytes, more: bool) -> bytes:
    value = {"task": task, "attempt": attempt or None, "line": line.decode("utf-8", "backslashreplace")}
    text = _to_json({**value, "more": True} if more else value) + "\n"
    return (github.escape_json(text) if github.is_active() else text).encode("utf-8", "backslashreplace")


def known_tasks(state: RunState) -> list[str]:
    """What has a log: the tasks of a run, and `main`, unless a task is named so."""
    return [*(() if MAIN in state.tasks else (MAIN,)), *state.tasks]


def show_logs(
    directory: RunDirectory, state: RunState, selection: Selection, *, as_json: bool = False
) -> None:
    """Write what tasks printed, one task after the other."""
    known = known_tasks(state)
    refuse_meaningless(directory, selection, known)
    wanted = selection.of(known)
    printer = Printer(selection.words, wanted, as_json=as_json)
    found = [(task, attempt) for task in wanted for attempt in _attempts(state, selection, task)]
    if selection.attempt is not None and not found:
        raise UsageError(f"run {directory.run_id} has no attempt {selection.attempt} of what was asked for")
    before = ""
    for task, attempt in found:
        if printer.broken:
            return
        if task == before:
            printer.separate(task, attempt)
        before = task
        tail = Tail(directory.log(task, attempt) if attempt else directory.main_log)
        printer.write(task, attempt, tail, to_end=True)
        tail.close()


def refuse_meaningless(directory: RunDirectory, selection: Selection, known: Sequence[str]) -> None:
    """Raise UsageError for the first word that means no task."""
    for word in selection.meaningless(known):
        hint = suggest(word, {name for task in known for name in names_of(task)}, "tasks")
        raise UsageError(f"run {directory.run_id} has no task {quote(word)}; {hint}")


def _attempts(state: RunState, selection: Selection, task: str) -> list[int]:
    if task not in state.tasks:
        return [] if selection.attempt else [0]
    numbers = [attempt.started.attempt for attempt in state.tasks[task].attempts]
    return [number for number in numbers if selection.attempt in (None, number)]

"""Reads the record of a run back, as events: all of it, its ends, or while it grows."""

from __future__ import annotations

import gc
import json
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun.errors import UnreadableRecord
from mprun.outcomes import Outcome
from mprun.record import events, lock
from mprun.record.format_1 import translate
from mprun.record.line_format import MAX_FIRST_LINE, TASK_FINISHED, task_line_matcher
from mprun.record.line_scanner import (
    END_TIME,
    ENDED,
    EXIT_PID,
    JOIN,
    JOINED_NAME,
    LATER,
    OTHER,
    START,
    STARTED,
)
from mprun.record.run_state import RunState
from mprun.record.task_lines import add_line, event_of_line, lines_of_end, time_of_line
from mprun.record.task_state import TaskState

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.line_scanner import Found
    from mprun.record.state_dir import RunDirectory

# The last line of a finished run fits into this many bytes.
_MAX_LAST_LINE = 8192


# A line that is longer was not written by mprun: the file may be a hole of many GB.
MAX_LINE = 64 << 20

# From this size on, in bytes, it takes less time to compile the pattern than to parse the lines.
_MIN_LARGE = 512 << 10
# How much of a large record is read at a time, in bytes.
_BLOCK_SIZE = 1 << 20


# The starts of lines, and the word for a success.
_ABOUT_TASK = '{"event":"task_'
_START_OR_EXIT = ('{"event":"task_started"', '{"event":"task_exited"')
_SUCCEEDED = str(Outcome.SUCCEEDED)

_decode = json.JSONDecoder().raw_decode


class CorruptLine(Exception):
    """A line of a record that is not an event: its number, and what is wrong with it."""


def parse_line(data: bytes, number: int = 1) -> dict[str, Any] | CorruptLine:
    """The JSON object in a line of a record, in the words of today's format."""
    if not data.endswith(b"\n"):
        if len(data) >= MAX_LINE:
            return CorruptLine(f"line {number} is longer than {MAX_LINE >> 20} MiB: it and all that follows")
        return CorruptLine(f"line {number} is torn")
    try:
        value = _parse(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return CorruptLine(f"line {number} is not a JSON object")
    return translate(value, events.FORMAT)


def _parse(data: bytes) -> Any:
    if not data.startswith(b"{"):
        return json.loads(data)
    # `json.loads` would look for other encodings first, and for spaces at both ends: a third of the time.
    text = data.decode("utf-8", "surrogatepass")
    value, end = _decode(text)
    if end != len(text) - 1 and text[end:].strip(" \t\n\r"):
        raise ValueError("more than a value")
    return value


def read_lines(directory: RunDirectory) -> Iterator[dict[str, Any] | CorruptLine]:
    """The objects of a record's lines; a CorruptLine for a line that contains none."""
    with _open(directory) as file:
        for number, data in enumerate(_lines(file), start=1):
            yield parse_line(data, number)


def read_state(
    directory: RunDirectory,
    also: Callable[[events.Event], None] | None = None,
    joins: dict[str, str] | None = None,
) -> tuple[RunState, list[str]]:
    """The state of a run by its record, and what is corrupt in the record.

    `also` gets each event that is not about a task, and perhaps others. The time at which a task was joined
    is added to `joins`, by its name.

    Raises UnreadableRecord if there is no record, or a newer mprun wrote it.
    """
    state = RunState()
    damage: list[str] = []
    with _open(directory) as file:
        if os.fstat(file.fileno()).st_size >= _MIN_LARGE:
            fold = _LargeRecord(state, damage, also, joins=joins)
            if rest := fold.read(file):
                fold.parse(rest)
            return state, damage
        for number, data in enumerate(_lines(file), start=1):
            event = apply_line(state, parse_line(data, number), damage)
            if also is not None and event is not None:
                also(event)
            if joins is not None and isinstance(event, events.TaskJoined):
                joins[event.task] = event.time
    return state, damage


class _LargeRecord:
    """Folds a large record: a line that is recognised is only parsed if someone asks for its task.

    `number` is that of the last line that was read. `add` gets the starts and exits of the tasks that `takes`
    accepts, and perhaps other events.
    """

    def __init__(
        self,
        state: RunState,
        damage: list[str],
        add: Callable[[events.Event], None] | None = None,
        takes: Callable[[str], bool] = lambda task: False,
        joins: dict[str, str] | None = None,
    ) -> None:
        self._joins = joins
        self._state = state
        self._damage = damage
        self._add = add
        self._takes = takes
        self._match: Callable[[str], re.Match[str] | None] | None = None
        self._run = ""
        self.number = 0

    def read(self, file: BinaryIO) -> bytes:
        """Read to the end; what follows the last line: one that is torn or too long."""
        from mprun.record.line_scanner import success_finder

        find = None
        with _without_collections():
            for block in _blocks(file):
                if not block.endswith(b"\n") or (len(block) == MAX_LINE and block.count(b"\n") == 1):
                    return block
                while find is None and block:
                    first, _, block = block.partition(b"\n")
                    if event := self._parse(first):
                        self._run = event.run
                        find = success_finder(self._run)
                if find is None:
                    continue
                try:
                    found = find(block.decode())
                except UnicodeDecodeError:
                    for line in block.split(b"\n")[:-1]:
                        self._parse(line)
                else:
                    self._take(found)
        return b""

    def parse(self, line: bytes) -> events.Event | None:
        """Take a line that was not recognised; its event."""
        self.number += 1
        event = apply_line(self._state, parse_line(line, self.number), self._damage)
        if event is not None and self._add is not None:
            self._add(event)
        if self._joins is not None and isinstance(event, events.TaskJoined):
            self._joins[event.task] = event.time
        return event

    def _parse(self, line: bytes) -> events.Event | None:
        return self.parse(line + b"\n")

    def _take(self, found: Sequence[Found]) -> None:  # noqa: C901  a call for each line takes a third of the time
        state, tasks = self._state, self._state.tasks
        add, takes, joins = self._add, self._takes, self._joins
        # The last line, if its time is not yet that of the state.
        last = ""
        for row in found:
            if row[START]:
                name, last = row[STARTED], row[START]
                if name in tasks:
                    self._take_line(last)
                    continue
                self.number += 1
                tasks[name] = TaskState(name, row[START:END_TIME])
            elif row[EXIT_PID]:
                name, last = row[ENDED], ""
                if joins is not None and row[JOIN]:
                    joins[name] = row[END_TIME]
                task = tasks.get(name)
                if task is None or not task.start or task.end:
                    for line in lines_of_end(self._run, row[END_TIME:JOIN]):
                        self._take_line(line)
                    # A join changes nothing of its task.
                    self.number += bool(row[JOIN])
                    continue
                self.number += 3 if row[JOIN] else 2
                task.end = row[END_TIME:JOIN]
                task.outcome = _SUCCEEDED
                state.time = row[END_TIME]
            elif row[LATER]:
                self.number += 1
                name, last = row[JOINED_NAME], row[LATER]
                if name not in tasks:
                    tasks[name] = TaskState(name)
                if joins is not None:
                    joins[name] = time_of_line(last)
                continue
            else:
                if last:
                    state.time, last = time_of_line(last), ""
                self._take_line(row[OTHER])
                continue
            if add is not None and takes(name):
                state.time = time_of_line(last) if last else row[END_TIME]
                add(event_of_line(last or lines_of_end(self._run, row[END_TIME:JOIN])[0]))
        if last:
            state.time = time_of_line(last)

    def _take_line(self, line: str) -> None:
        """Take a line that is not of a task that just succeeds at once, without its line feed."""
        if not line.startswith(_ABOUT_TASK):
            self._parse(line.encode())
            return
        if self._match is None:
            from mprun.record.line_scanner import line_matcher

            self._match = line_matcher(self._run)
        found = self._match(line)
        if found is None:
            self._parse(line.encode())
            return
        self.number += 1
        state, name = self._state, found["task"]
        if not add_line(state.task(name), line, found.end("task")):
            state.apply(event_of_line(line))
        state.time = found["time"]
        if self._add is not None and self._takes(name) and line.startswith(_START_OR_EXIT):
            self._add(event_of_line(line))


@contextmanager
def _without_collections() -> Iterator[None]:
    """Keep the garbage collector from going through all tasks time and again: a fold makes no garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """A record in blocks of whole lines, the last of which may be torn; up to a line that is too long."""
    while data := file.read(_BLOCK_SIZE):
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if rest:
            rest += file.readline(MAX_LINE - len(rest))
        if rest.endswith(b"\n") and len(rest) < MAX_LINE:
            yield data[:end] + rest
            continue
        if end:
            yield data[:end]
        if rest:
            yield rest
        if len(rest) == MAX_LINE:
            return


def read_first_and_last(directory: RunDirectory) -> tuple[RunState, list[str]]:
    """Like `read_state`, but only the first event and the last of a run that has finished.

    So a thousand runs can be listed at once, however many tasks they had.
    """
    with _open(directory) as file:
        first = file.readline(MAX_FIRST_LINE)
        file.seek(max(len(first), os.fstat(file.fileno()).st_size - _MAX_LAST_LINE))
        last = file.read(_MAX_LAST_LINE)
    state = RunState()
    damage: list[str] = []
    for data in (first, last[last.rfind(b"\n", 0, -1) + 1 :]):
        apply_line(state, parse_line(data), damage)
    if damage or state.started is None or state.finished is None:
        return read_state(directory)
    return state, damage


def read_unfinished(directory: RunDirectory) -> RunState:
    """Like `read_state`, but only the outcome of a task that has one: what recovery needs of a large run.

    Most lines are recognised without being parsed: 1.6 s for 100,000 tasks, instead of 5 s.
    A task whose outcome is unknown is read in full, because its process may still be running.
    """
    match = task_line_matcher()
    state = RunState()
    finished: set[bytes] = set()
    with _open(directory) as file:
        for data in _lines(file):
            if data.startswith(TASK_FINISHED):
                event = apply_line(state, parse_line(data), [])
                found = match(data)
                if found and isinstance(event, events.TaskFinished) and event.outcome != Outcome.UNKNOWN:
                    finished.add(found[3])
        last = state.time
        file.seek(0)
        for data in _lines(file):
            found = match(data)
            if not found or found[3] not in finished:
                apply_line(state, parse_line(data), [])
    state.time = max(state.time, last)
    return state


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a record, up to one that is too long, which is returned in part."""
    for data in iter(partial(file.readline, MAX_LINE), b""):
        yield data
        if len(data) == MAX_LINE:
            return


@contextmanager
def _open(directory: RunDirectory) -> Iterator[BinaryIO]:
    try:
        with lock.open_record(directory) as file:
            yield file
    except UnreadableRecord as error:
        raise UnreadableRecord(f"run {directory.run_id}: {error}", newer=error.newer) from None
    except OSError as error:
        raise _unreadable(directory, error) from None


def _unreadable(directory: RunDirectory, error: OSError) -> UnreadableRecord:
    return UnreadableRecord(f"{directory.events} cannot be read: {error.strerror}")


def apply_line(
    state: RunState, record: dict[str, Any] | CorruptLine, damage: list[str]
) -> events.Event | None:
    """Apply one more line of a record to the state, and return its event.

    What is corrupt is added to `damage`. Raises UnreadableRecord if a newer mprun wrote the record.
    """
    if isinstance(record, CorruptLine):
        damage.append(str(record))
        return None
    written = record.get("format", events.FORMAT)
    # JSON's true is equal to 1, and not a format.
    if type(written) is not int or written > events.FORMAT:
        raise UnreadableRecord(
            f"this record has the format {written}, "
            f"and this mprun reads up to {events.FORMAT}: upgrade mprun",
            newer=True,
        )
    try:
        event = events.from_record(record)
    except TypeError as error:
        damage.append(f"a {str(record.get('event'))[:40]} event is not whole: {error}")
        return None
    if event is not None:
        state.apply(event)
    return event


class RecordFollower:
    """Reads a record while it grows; `state` is the run as far as its record was read."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.state = RunState()
        self.damage: list[str] = []
        self._number = 0
        self._rest = b""
        try:
            self._file = open(directory.open_events(), "rb")  # noqa: SIM115  closed by `close`
        except OSError as error:
            raise _unreadable(directory, error) from None

    def catch_up(
        self,
        add: Callable[[events.Event], None] = lambda event: None,
        takes: Callable[[str], bool] = lambda task: False,
    ) -> None:
        """Apply the events that were added since the last call.

        `add` gets the starts and exits of the tasks that `takes` accepts, and perhaps other events.
        """
        if not self._number and os.fstat(self._file.fileno()).st_size >= _MIN_LARGE:
            fold = _LargeRecord(self.state, self.damage, add, takes)
            self._rest = fold.read(self._file)
            self._number = fold.number
        for event in self.read():
            add(event)

    def read(self) -> Iterator[events.Event]:
        """The events that were added since the last call, each applied before it is returned."""
        while data := self._file.readline(MAX_LINE - len(self._rest)):
            self._rest += data
            if not data.endswith(b"\n"):
                return
            self._number += 1
            line, self._rest = self._rest, b""
            event = apply_line(self.state, parse_line(line, self._number), self.damage)
            if event is not None:
                yield event

    @property
    def finished(self) -> bool:
        """Whether no process will add to the record: the run has finished, or was killed."""
        return not is_active(self.directory, self.state)

    def end(self) -> None:
        """Nothing more will be added: what is left is a torn line."""
        if self._rest:
            self.damage.append(str(parse_line(self._rest, self._number + 1)))
            self._rest = b""

    def close(self) -> None:
        """Close the record."""
        self._file.close()


def is_active(directory: RunDirectory, state: RunState) -> bool:
    """Whether a process is still running this run: it has not finished, and its record is locked."""
    return state.finished is None and lock.find_writer(directory) is not None


def run_outcome(directory: RunDirectory, state: RunState) -> str:
    """The outcome of a run; `running` if it is active, `interrupted` if it stopped without one."""
    if state.finished is not None:
        return state.finished.outcome
    return Outcome.RUNNING if is_active(directory, state) else Outcome.INTERRUPTED

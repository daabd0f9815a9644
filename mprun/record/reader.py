"""Reads the record of a run back, as events: all of it, its ends, or while it grows."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun.errors import UnreadableRecord
from mprun.outcomes import Outcome
from mprun.record import events, lock
from mprun.record.event_reader import from_record
from mprun.record.format_1 import translate
from mprun.record.line_format import MAX_FIRST_LINE, TASK_FINISHED, task_line_matcher
from mprun.record.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.record.large_record import LargeRecord
    from mprun.record.state_dir import RunDirectory

# The last line of a finished run fits into this many bytes.
_MAX_LAST_LINE = 8192


# A line that is longer was not written by mprun: the file may be a hole of many GB.
MAX_LINE = 64 << 20

# From this size on, in bytes, it takes less time to compile the pattern than to parse the lines.
_MIN_LARGE = 512 << 10


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
    *,
    may_fork: bool = False,
) -> tuple[RunState, list[str]]:
    """The state of a run by its record, and what is corrupt in the record.

    `also` gets each event that is not about a task, and perhaps others. The time at which a task was joined
    is added to `joins`, by its name. A process that `may_fork` has a second one help with a large record.

    Raises UnreadableRecord if there is no record, or a newer mprun wrote it.
    """
    state = RunState()
    damage: list[str] = []
    with _open(directory) as file:
        if os.fstat(file.fileno()).st_size >= _MIN_LARGE:
            from mprun.record.large_record import LargeRecord

            LargeRecord(
                state, _applier(state, damage), MAX_LINE, also, joins=joins, may_fork=may_fork
            ).read_all(file)
            return state, damage
        for number, data in enumerate(_lines(file), start=1):
            event = apply_line(state, parse_line(data, number), damage)
            if also is not None and event is not None:
                also(event)
            if joins is not None and isinstance(event, events.TaskJoined):
                joins[event.task] = event.time
    return state, damage


def _applier(state: RunState, damage: list[str]) -> Callable[[bytes, int], events.Event | None]:
    return lambda line, number: apply_line(state, parse_line(line, number), damage)


def read_events(
    directory: RunDirectory, add: Callable[[events.Event], None], fold: Callable[..., LargeRecord]
) -> None:
    """Pass each event of a record to `add`; a large record is read by what `fold` makes.

    Raises UnreadableRecord if there is no record, or a newer mprun wrote it.
    """
    state, damage = RunState(), list[str]()
    with _open(directory) as file:
        if os.fstat(file.fileno()).st_size >= _MIN_LARGE:
            fold(state, _applier(state, damage), MAX_LINE, add).read_all(file)
            return
        for data in _lines(file):
            event = apply_line(state, parse_line(data), damage)
            if event is not None:
                add(event)


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
        event = from_record(record)
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
            from mprun.record.large_record import LargeRecord

            fold = LargeRecord(self.state, _applier(self.state, self.damage), MAX_LINE, add, takes)
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

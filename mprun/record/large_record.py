"""Reads a large record: a line that is recognised is only parsed if someone asks for its task."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO

from mprun.outcomes import Outcome
from mprun.record import garbage_collector
from mprun.record.found import END_TIME, ENDED, EXIT_PID, JOIN, JOINED_NAME, LATER, OTHER, START, STARTED
from mprun.record.line_scanner import line_matcher, success_finder
from mprun.record.second_reader import find_in, pieces_of
from mprun.record.task_lines import add_line, event_of_line, lines_of_end, time_of_line
from mprun.record.task_state import TaskState

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record import events
    from mprun.record.found import Found
    from mprun.record.run_state import RunState

# How much is read at a time, in bytes.
_BLOCK_SIZE = 1 << 20
# The starts of lines, and the word for a success.
_ABOUT_TASK = '{"event":"task_'
_START_OR_EXIT = ('{"event":"task_started"', '{"event":"task_exited"')
_SUCCEEDED = str(Outcome.SUCCEEDED)


class LargeRecord:
    """Folds a large record: a line that is recognised is only parsed if someone asks for its task.

    `apply` parses a line with this number, adds its event to the state and returns it; a line with `max_line`
    bytes is too long. `number` is that of the last line that was read. `add` gets the starts and exits of
    the tasks that `takes` accepts, and perhaps other events.
    """

    def __init__(
        self,
        state: RunState,
        apply: Callable[[bytes, int], events.Event | None],
        max_line: int,
        add: Callable[[events.Event], None] | None = None,
        takes: Callable[[str], bool] = lambda task: False,
        joins: dict[str, str] | None = None,
        *,
        may_fork: bool = False,
    ) -> None:
        self._joins = joins
        self._may_fork = may_fork
        self._state = state
        self._apply = apply
        self._max_line = max_line
        self._add = add
        self._takes = takes
        self._match: Callable[[str], re.Match[str] | None] | None = None
        self.run = ""
        self.number = 0

    def read_all(self, file: BinaryIO) -> None:
        """Read to the end, where a line that is torn or too long is damage."""
        if rest := self.read(file):
            self.parse(rest)

    def read(self, file: BinaryIO) -> bytes:
        """Read to the end; what follows the last line: one that is torn or too long."""
        find = None
        with garbage_collector.paused():
            for block in _blocks(file, self._max_line):
                if not block.endswith(b"\n") or (len(block) == self._max_line and block.count(b"\n") == 1):
                    return block
                if find is not None:
                    self._take_block(block, find)
                    continue
                while find is None and block:
                    first, _, block = block.partition(b"\n")
                    if event := self._parse(first):
                        self.run = event.run
                        find = success_finder(self.run)
                if find is not None:
                    self._take_block(block, find)
                    self._take_pieces(file, find)
        return b""

    def _take_block(self, block: bytes, find: Callable[[str], list[Found]]) -> None:
        try:
            found = find(block.decode())
        except UnicodeDecodeError:
            for line in block.split(b"\n")[:-1]:
                self._parse(line)
        else:
            self.take(found)

    def _take_pieces(self, file: BinaryIO, find: Callable[[str], list[Found]]) -> None:
        """Take what follows as far as it is in pieces."""
        pieces = pieces_of(file)
        with closing(find_in(file, pieces, find, may_fork=self._may_fork)) as all_found:
            for found in all_found:
                if isinstance(found, bytes):
                    self._take_block(found, find)
                else:
                    self.take(found)
        if pieces:
            file.seek(pieces[-1][1])

    def parse(self, line: bytes) -> events.Event | None:
        """Take a line that was not recognised; its event."""
        self.number += 1
        event = self._apply(line, self.number)
        if event is not None and self._add is not None:
            self._add(event)
        if self._joins is not None and event is not None and event.event == "task_joined":
            self._joins[event.task] = event.time  # type: ignore[attr-defined]
        return event

    def _parse(self, line: bytes) -> events.Event | None:
        return self.parse(line + b"\n")

    def take(self, found: Sequence[Found]) -> None:  # noqa: C901  a call for each line takes a third of the time
        state, tasks = self._state, self._state.tasks
        add, takes, joins = self._add, self._takes, self._joins
        # The last line, if its time is not yet that of the state.
        last = ""
        for row in found:
            ends = row[EXIT_PID]
            # Without what is long and not asked for later.
            kept = row[:JOIN]
            if row[START]:
                name, last = row[STARTED], row[START]
                if name in tasks:
                    self._take_line(last)
                else:
                    self.number += 1
                    tasks[name] = TaskState(name, kept)
                    if add is not None and takes(name):
                        state.time = time_of_line(last)
                        add(event_of_line(last))
                if not ends:
                    continue
            if ends:
                name, last = row[ENDED], ""
                if joins is not None and row[JOIN]:
                    joins[name] = row[END_TIME]
                task = tasks.get(name)
                if task is None or not task.start or task.end:
                    for line in lines_of_end(self.run, row):
                        self._take_line(line)
                    # A join changes nothing of its task.
                    self.number += bool(row[JOIN])
                    continue
                self.number += 3 if row[JOIN] else 2
                task.end = kept
                task.outcome = _SUCCEEDED
                state.time = row[END_TIME]
                if add is not None and takes(name):
                    add(event_of_line(lines_of_end(self.run, row)[0]))
            elif row[LATER]:
                self.number += 1
                name, last = row[JOINED_NAME], row[LATER]
                if name not in tasks:
                    tasks[name] = TaskState(name)
                if joins is not None:
                    joins[name] = time_of_line(last)
            else:
                if last:
                    state.time, last = time_of_line(last), ""
                self._take_line(row[OTHER])
        if last:
            state.time = time_of_line(last)

    def _take_line(self, line: str) -> None:
        """Take a line that is not of a task that just succeeds at once, without its line feed."""
        if not line.startswith(_ABOUT_TASK):
            self._parse(line.encode())
            return
        if self._match is None:
            self._match = line_matcher(self.run)
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


def _blocks(file: BinaryIO, max_line: int) -> Iterator[bytes]:
    """A record in blocks of whole lines, the last of which may be torn; up to a line that is too long."""
    while data := file.read(_BLOCK_SIZE):
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if rest:
            rest += file.readline(max_line - len(rest))
        if rest.endswith(b"\n") and len(rest) < max_line:
            yield data[:end] + rest
            continue
        if end:
            yield data[:end]
        if rest:
            yield rest
        if len(rest) == max_line:
            return

"""The record of a run, `events.jsonl`: appended as things happen, read back as events."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from mprun import failpoints
from mprun.errors import RecordError
from mprun.outcomes import Outcome
from mprun.record import events, format_1
from mprun.record.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mprun.record.state_dir import RunDirectory

# A first line of more bytes is none of ours; a last one has room in this much.
_FIRST_LINE = 1 << 20
_LAST_LINE = 8192


def _encoder() -> Callable[[object], str]:
    """JSON without spaces, as `json.JSONEncoder.encode` writes it.

    That makes a new encoder for each call, which takes a third of the time of a line.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    escaped = json.encoder.encode_basestring
    pieces = make(None, encoder.default, escaped, None, ":", ",", False, False, True)
    return lambda value: "".join(pieces(value, 0))


_to_json = _encoder()


# What a line says whatever the event, and how the usual kinds of a value are written: a third
# less time than to make a dict of each event, and JSON of that.
_LINES = {
    name: f'{{"event":"{name}",' + ",".join(f'"{field}":%s' for field in kind._fields) + "}\n"
    for name, kind in events.KINDS.items()
}
_TEXTS: dict[type, Callable[[Any], str]] = {
    str: json.encoder.encode_basestring,
    int: int.__repr__,
    float: float.__repr__,
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}


def line(event: events.Event) -> str:
    """One event as one line of JSON, with its line feed."""
    return _LINES[event.event] % tuple(
        [_TEXTS.get(type(value), _to_json)(value) for value in event.to_tuple()]
    )


def encode(batch: Sequence[events.Event]) -> bytes:
    """Events as the bytes of their lines; what is not text (lone surrogates) is escaped."""
    return "".join(map(line, batch)).encode("utf-8", "backslashreplace")


class Recorder:
    """Appends events to a run's record, with one write for all of one turn.

    While it is open it holds a lock on the record, by which `writer` knows who writes it.
    Raises RecordError where another process writes it.
    """

    # What could not be written yet: it goes before what comes next, so that no line is torn for good.
    _rest = b""

    def __init__(self, directory: RunDirectory) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory.events, flags, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(self._file)
            raise RecordError(f"{directory.events} is being written by another process") from None
        except OSError:
            # A file system without locks: nobody can tell that the run goes on.
            pass
        _writing[_identity(self._file)] = self._file

    def append(self, batch: Sequence[events.Event]) -> None:
        """Write events; raises RecordError where they cannot be written whole.

        What is left is written first the next time, so none is lost where a disk has room again.
        """
        data = memoryview(self._rest + encode(batch))
        try:
            failpoints.reached("record.before")
            if failpoints.is_set("record.torn"):
                data = data[os.write(self._file, data[: len(data) // 2]) :]
                failpoints.reached("record.torn")
            while data:
                data = data[os.write(self._file, data) :]
            failpoints.reached("record.after")
        except OSError as error:
            self._rest = bytes(data)
            raise RecordError(f"the record cannot be written: {error.strerror}") from None
        self._rest = b""

    def close_last_line(self) -> None:
        """End a line that was torn when its writer was killed, so that what follows has its own."""
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def close(self) -> None:
        _writing.pop(_identity(self._file), None)
        os.close(self._file)


# The records that this process writes: their descriptors by device and inode. The lock is
# POSIX's: the kernel tells its holder's pid, and drops it when the process ends however it
# ends. It also drops it when the process closes any other descriptor of the file, so the
# engine opens its record once, and who reads a record that may be its own locks it again.
_writing: dict[tuple[int, int], int] = {}


def _identity(file: int | str) -> tuple[int, int]:
    found = os.stat(file)
    return found.st_dev, found.st_ino


def _lock_again(path: str) -> None:
    with contextlib.suppress(OSError, KeyError):
        fcntl.lockf(_writing[_identity(path)], fcntl.LOCK_EX | fcntl.LOCK_NB)


def writer(path: str) -> int | None:
    """The pid of the process that writes this record now; None where there is none.

    It is the kernel's word, not that of a pid that somebody else may have by now; 0 is a
    process that this one cannot see (another container). The file may be read-only.
    """
    try:
        if _identity(path) in _writing:
            # One's own locks are in nobody's way, and to ask for them would drop them.
            return os.getpid()
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _holder(file)
    except OSError:
        return None
    finally:
        os.close(file)


def _holder(file: int) -> int | None:
    """Who has a lock that would be in the way of one's own."""
    # Half a millisecond to import, and no run needs it.
    import struct

    # `struct flock` of fcntl(2), which begins with the kind on Linux and ends with it elsewhere.
    on_linux = sys.platform == "linux"
    layout = struct.Struct("hhqqi0q" if on_linux else "qqihh")
    asked = (fcntl.F_WRLCK, 0, 0, 0, 0) if on_linux else (0, 0, 0, fcntl.F_WRLCK, 0)
    answer = layout.unpack(fcntl.fcntl(file, fcntl.F_GETLK, layout.pack(*asked)))
    kind, pid = (answer[0], answer[4]) if on_linux else (answer[3], answer[2])
    return None if kind == fcntl.F_UNLCK else int(pid)


class Damage(Exception):
    """A line of a record that is no event: its number, and what is wrong with it."""


@contextlib.contextmanager
def opened(directory: RunDirectory) -> Iterator[BinaryIO]:
    """A record to be read, which may be one that this process writes. Raises OSError."""
    try:
        # What is no file, such as a named pipe, does not make the reader wait.
        with open(directory.events, "rb", opener=_at_once) as file:
            yield file
    finally:
        _lock_again(directory.events)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(data: bytes, number: int = 1) -> dict[str, Any] | Damage:
    if not data.endswith(b"\n"):
        return Damage(f"line {number} is torn")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return Damage(f"line {number} is not a JSON object")
    return format_1.translate(value, events.FORMAT)


def read_lines(path: str) -> Iterator[dict[str, Any] | Damage]:
    """The objects of a record's lines; in place of a line that holds none, its damage."""
    with open(path, "rb") as file:
        for number, data in enumerate(file, start=1):
            yield _parse(data, number)


def read_state(directory: RunDirectory) -> tuple[RunState, list[str]]:
    """A run as its record tells it, and what could not be read of it.

    Raises RecordError where the record was written by a newer mprun, or not at all.
    """
    state = RunState()
    damage: list[str] = []
    try:
        for record in read_lines(directory.events):
            apply(state, record, damage)
    except OSError as error:
        raise _unreadable(directory, error) from None
    finally:
        _lock_again(directory.events)
    return state, damage


def read_ends(directory: RunDirectory) -> tuple[RunState, list[str]]:
    """As `read_state`, but of a run that is over only its first event and its last.

    So a thousand runs can be listed at once, however many tasks they had.
    """
    try:
        with open(directory.events, "rb") as file:
            first = file.readline(_FIRST_LINE)
            file.seek(max(len(first), os.fstat(file.fileno()).st_size - _LAST_LINE))
            last = file.read(_LAST_LINE)
    except OSError as error:
        raise _unreadable(directory, error) from None
    finally:
        _lock_again(directory.events)
    state = RunState()
    damage: list[str] = []
    for data in (first, last[last.rfind(b"\n", 0, -1) + 1 :]):
        apply(state, _parse(data), damage)
    if damage or state.started is None or state.finished is None:
        return read_state(directory)
    return state, damage


def read_open(directory: RunDirectory) -> RunState:
    """As `read_state`, but of what has its outcome only that: of a large run, what a sweep must know.

    Of most lines it is only looked whose they are: 1.6 s for 100,000 tasks, and 5 for all.
    A task of which nobody saw the end is read whole, as its process may be there still.
    """
    import re

    # As `line` writes them; who writes them otherwise is read whole.
    whose = re.compile(
        rb'\{"event":"task_\w+","time":"[^"\\]*","run":"[^"\\]*","task":("(?:[^"\\]|\\.)*"),'
    ).match
    state = RunState()
    over: set[bytes] = set()
    last = ""
    try:
        with open(directory.events, "rb") as file:
            for data in file:
                if data.startswith(b'{"event":"task_finished",'):
                    event = apply(state, _parse(data), [])
                    found = whose(data)
                    if found and isinstance(event, events.TaskFinished) and event.outcome != Outcome.UNKNOWN:
                        over.add(found[1])
            last = state.time
            file.seek(0)
            for data in file:
                found = whose(data)
                if not found or found[1] not in over:
                    apply(state, _parse(data), [])
    except OSError as error:
        raise _unreadable(directory, error) from None
    finally:
        _lock_again(directory.events)
    state.time = max(state.time, last)
    return state


def _unreadable(directory: RunDirectory, error: OSError) -> RecordError:
    return RecordError(f"{directory.events} cannot be read: {error.strerror}")


def apply(state: RunState, record: dict[str, Any] | Damage, damage: list[str]) -> events.Event | None:
    """Take one more line of a record, and return its event; what cannot be read is added to `damage`.

    Raises RecordError where the record was written by a newer mprun.
    """
    if isinstance(record, Damage):
        damage.append(str(record))
        return None
    written = record.get("format", events.FORMAT)
    # JSON's true is equal to 1, and no format.
    if type(written) is not int or written > events.FORMAT:
        raise RecordError(
            f"this record has the format {written}, and this mprun reads up to {events.FORMAT}: upgrade mprun"
        )
    try:
        event = events.from_record(record)
    except TypeError as error:
        damage.append(f"a {str(record.get('event'))[:40]} event is not whole: {error}")
        return None
    if event is not None:
        state.apply(event)
    return event


class Following:
    """A record that is read while it grows; `state` is what it has come to, as far as it was read."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.state = RunState()
        self.damage: list[str] = []
        self._number = 0
        self._rest = b""
        try:
            self._file = open(directory.events, "rb")  # noqa: SIM115  closed by `close`
        except OSError as error:
            raise _unreadable(directory, error) from None

    def read(self) -> Iterator[events.Event]:
        """The events since the last time, each applied when it comes."""
        for data in self._file:
            self._rest += data
            if not data.endswith(b"\n"):
                return
            self._number += 1
            line, self._rest = self._rest, b""
            event = apply(self.state, _parse(line, self._number), self.damage)
            if event is not None:
                yield event

    @property
    def over(self) -> bool:
        """Whether the run has ended, or nobody is there who would write its end."""
        return not goes_on(self.directory, self.state)

    def end(self) -> None:
        """Nothing more is to come: what is left is damage."""
        if self._rest:
            self.damage.append(str(_parse(self._rest, self._number + 1)))
            self._rest = b""

    def close(self) -> None:
        self._file.close()


def goes_on(directory: RunDirectory, state: RunState) -> bool:
    """Whether somebody still writes this record."""
    return state.finished is None and writer(directory.events) is not None


def outcome(directory: RunDirectory, state: RunState) -> str:
    """What the run has come to by now: its outcome, `running`, or `interrupted` without an end."""
    if state.finished is not None:
        return state.finished.outcome
    return Outcome.RUNNING if goes_on(directory, state) else Outcome.INTERRUPTED

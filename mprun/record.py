"""The record of a run, `events.jsonl`: appended as things happen, read back as events."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from mprun import events, failpoints
from mprun.errors import RecordError
from mprun.state import RunState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mprun.statedir import RunDirectory


# Made once: `json.dumps` makes a new one for each call with options.
_to_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def line(event: events.Event) -> str:
    """One event as one line of JSON, with its line feed."""
    return _to_json(event.to_record()) + "\n"


def encode(batch: Sequence[events.Event]) -> bytes:
    """Events as the bytes of their lines; what is not text (lone surrogates) is escaped."""
    return "".join(map(line, batch)).encode("utf-8", "backslashreplace")


class Recorder:
    """Appends events to a run's record, with one write for all of one turn."""

    def __init__(self, directory: RunDirectory) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(directory.events, flags, 0o600)

    def append(self, batch: Sequence[events.Event]) -> None:
        """Write events; raises RecordError where they cannot be written whole."""
        data = memoryview(encode(batch))
        try:
            failpoints.reached("record.before")
            if failpoints.is_set("record.torn"):
                data = data[os.write(self._file, data[: len(data) // 2]) :]
                failpoints.reached("record.torn")
            while data:
                data = data[os.write(self._file, data) :]
            failpoints.reached("record.after")
        except OSError as error:
            raise RecordError(f"the record cannot be written: {error.strerror}") from None

    def close(self) -> None:
        os.close(self._file)


class Damage(Exception):
    """A line of a record that is no event: its number, and what is wrong with it."""


def read_lines(path: str) -> Iterator[dict[str, Any] | Damage]:
    """The objects of a record's lines; in place of a line that holds none, its damage."""
    with open(path, "rb") as file:
        for number, data in enumerate(file, start=1):
            if not data.endswith(b"\n"):
                yield Damage(f"line {number} is torn")
                return
            try:
                value = json.loads(data)
            except (ValueError, RecursionError):
                value = None
            yield value if isinstance(value, dict) else Damage(f"line {number} is not a JSON object")


def read_state(directory: RunDirectory) -> tuple[RunState, list[str]]:
    """A run as its record tells it, and what could not be read of it.

    Raises RecordError where the record was written by a newer mprun, or not at all.
    """
    state = RunState()
    damage: list[str] = []
    try:
        for record in read_lines(directory.events):
            _apply(state, record, damage)
    except OSError as error:
        raise RecordError(f"{directory.events} cannot be read: {error.strerror}") from None
    return state, damage


def _apply(state: RunState, record: dict[str, Any] | Damage, damage: list[str]) -> None:
    if isinstance(record, Damage):
        damage.append(str(record))
        return
    written = record.get("format", events.FORMAT)
    if not isinstance(written, int) or written > events.FORMAT:
        raise RecordError(
            f"this record has the format {written}, and this mprun reads up to {events.FORMAT}: upgrade mprun"
        )
    try:
        event = events.from_record(record)
    except TypeError as error:
        damage.append(f"a {str(record.get('event'))[:40]} event is not whole: {error}")
        return
    if event is not None:
        state.apply(event)

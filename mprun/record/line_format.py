"""The lines of a record: how an event is written as one, and how one is recognised without parsing it."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

from mprun.lean_json import encode_compactly, encode_text
from mprun.record import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# In bytes; a first line that is longer was not written by mprun.
MAX_FIRST_LINE = 1 << 20
# The start of the first line.
RUN_STARTED = b'{"event":"run_started",'
# The start of the line in which a task gets its outcome.
TASK_FINISHED = b'{"event":"task_finished",'

_SUCCEEDED = b'"outcome":"succeeded",'


# ---- writing


# A line of each kind with a %s for each value, and how values of the common types are written.
# Two thirds of the time that it takes to make a dict of each event, and JSON of the dict.
_TEMPLATES = {
    name: f'{{"event":"{name}",' + ",".join(f'"{field}":%s' for field in kind._fields) + "}\n"
    for name, kind in events.KINDS.items()
}
_ENCODERS: dict[type, Callable[[Any], str]] = defaultdict(
    lambda: encode_compactly,
    {
        str: encode_text,
        int: int.__repr__,
        float: float.__repr__,
        bool: {False: "false", True: "true"}.__getitem__,
        type(None): {None: "null"}.__getitem__,
    },
)


def encode_line(event: events.Event) -> str:
    """An event as one line of JSON, with its line feed."""
    return _TEMPLATES[event.event] % tuple([_ENCODERS[type(value)](value) for value in event.to_tuple()])


def encode(batch: Sequence[events.Event]) -> bytes:
    """Events as the bytes of their lines; lone surrogates, which UTF-8 cannot encode, are escaped."""
    return "".join(map(encode_line, batch)).encode("utf-8", "backslashreplace")


# ---- recognising


@cache
def task_line_matcher() -> Callable[[bytes], re.Match[bytes] | None]:
    """Match the start of a line about a task, as `encode_line` writes it.

    The groups are the kind of event without its `task_`, the time, and the task's name as JSON, for
    `decode_name`. A line that something else has written may not match: parse it. The pattern is
    compiled on the first call, because no run needs it.
    """
    return re.compile(
        rb'\{"event":"task_([a-z]+)","time":"([^"\\]*)","run":"[^"\\]*","task":("[^"\\]*(?:\\.[^"\\]*)*"),'
    ).match


@cache
def _duration_searcher() -> Callable[[bytes, int], re.Match[bytes] | None]:
    return re.compile(rb'"duration":([-+.0-9eE]+),').search


def decode_name(name: bytes) -> str:
    """A task's name from its JSON, as `task_line_matcher` finds it. Raises ValueError for other text."""
    if b"\\" not in name:
        return name[1:-1].decode()
    import json

    return str(json.loads(name))


def find_duration(line: bytes, start: int) -> float | None:
    """The `duration` of a `task_exited` line in seconds, searched from `start`; None if there is none."""
    found = _duration_searcher()(line, start)
    return float(found[1]) if found else None


def says_succeeded(line: bytes, start: int) -> bool:
    """Whether the outcome that a `task_finished` line has at `start`, after the name, is a success."""
    return line.startswith(_SUCCEEDED, start)

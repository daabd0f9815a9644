"""What a worker left in files: a result, an error, what the process used."""

from __future__ import annotations

import json
import os
from typing import Any

from mprun.frozen import Frozen

# A result of more JSON than this stays in its file (DESIGN.md section 5), in bytes.
RESULT_LIMIT = 64 * 1024
# Deeper JSON too: some readers of a line give up soon, Python's at about a thousand levels.
DEPTH_LIMIT = 100
# What is handed to another task may be this deep on any Python: some read JSON deeper than
# marshal, which takes it there, writes it.
_HANDED_DEPTH = 900
# An error's message is a line in a table, not a place for data.
MESSAGE_LIMIT = 2000


def read_result(path: str) -> tuple[Any, str]:
    """The result of an attempt that succeeded, and its kind: `none`, `json`, `file`, `repr`.

    Only a result of the kind `json` comes back; the others are None. `path` has no suffix.
    """
    text = _read(f"{path}.json", RESULT_LIMIT + 1)
    if text is None:
        return None, "repr" if os.access(f"{path}.repr", os.F_OK) else "none"
    if len(text) > RESULT_LIMIT:
        return None, "file"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, "file"
    if text.count(b"[") + text.count(b"{") > DEPTH_LIMIT and _is_deep(value):
        return None, "file"
    return value, "json"


def read_value(path: str) -> tuple[Any, str]:
    """The whole result of an attempt that succeeded, whatever its size, and its kind.

    The kinds are `none`, `json` and `repr`; what cannot be read as JSON counts as `repr`.
    """
    text = _read(f"{path}.json")
    if text is None:
        return None, "repr" if os.path.exists(f"{path}.repr") else "none"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, "repr"
    deep = text.count(b"[") + text.count(b"{") > _HANDED_DEPTH and _is_deep(value, _HANDED_DEPTH)
    return (None, "repr") if deep else (value, "json")


def read_repr(path: str, limit: int) -> str | None:
    """The first `limit` bytes of the `repr` of a result, None if there is none. `path` has no suffix."""
    text = _read(f"{path}.repr", limit)
    return None if text is None else text.decode("utf-8", "replace")


def _is_deep(value: object, limit: int = DEPTH_LIMIT) -> bool:
    """Whether lists and objects stand more than `limit` deep in one another."""
    level = [value]
    for _ in range(limit + 1):
        inner = [
            one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))
        ]
        if not inner:
            return False
        level = [child for children in inner for child in children]
    return True


class Failure(Frozen):
    """The exception that ended an attempt, or why nothing was run.

    `names` are those of its class and of the bases, with and without module; `errno` is an
    OSError's.
    """

    type: str
    message: str
    names: tuple[str, ...] = ()
    errno: int | None = None


def read_failure(path: str) -> Failure | None:
    """The exception that ended an attempt, None where none did. `path` has no suffix."""
    error = _read_object(f"{path}.error.json")
    if error is None:
        return None
    names, number = error.get("bases"), error.get("errno")
    return Failure(
        type=str(error.get("type", "")),
        message=str(error.get("message", ""))[:MESSAGE_LIMIT],
        names=tuple(map(str, names)) if isinstance(names, list) else (),
        errno=number if isinstance(number, int) else None,
    )


def read_error(path: str) -> dict[str, str] | None:
    """The type and message of that exception, as an event has them."""
    failure = read_failure(path)
    return None if failure is None else {"type": failure.type, "message": failure.message}


def read_usage(path: str) -> dict[str, Any]:
    """What the process measured of itself, where it did: threads, CPU seconds, bytes."""
    usage = _read_object(f"{path}.usage.json")
    if not usage:
        return {}
    return {
        name: usage[name]
        for name in ("threads", "cpu", "max_rss")
        if isinstance(usage.get(name), (int, float))
    }


def _read_object(path: str) -> dict[str, Any] | None:
    text = _read(path)
    try:
        value = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read(path: str, limit: int = -1) -> bytes | None:
    # Most are not there, and to make an exception of that takes longer than to ask.
    if not os.access(path, os.F_OK):
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    with open(file, "rb") as stream:
        return stream.read(limit)

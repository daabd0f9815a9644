"""The result files that a worker leaves: the result of an attempt, its exception, what its process used.

`mprun.launcher.result_files` writes them, with the same suffixes. The name of `files` has none of them.
"""

from __future__ import annotations

import contextlib
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact_beginning
from mprun.errors import RecordError
from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mprun.record.state_dir import RunDirectory
    from mprun.record.state_files import StateFile

JSON, REPR, PROBLEM, ERROR, USAGE = ".json", ".repr", ".problem.json", ".error.json", ".usage.json"
# The modules that a process had imported at its end.
MODULES = ".modules.json"
# A result has one of these.
RESULT_SUFFIXES = (JSON, REPR)
# What belongs to a result: also why it is not JSON.
ADOPTED_SUFFIXES = (*RESULT_SUFFIXES, PROBLEM)

# A result with more bytes of JSON stays in its file, and is not copied into the record.
RESULT_LIMIT = 64 * 1024
# No more of it is read: a task may have put a sparse file in its place.
VALUE_LIMIT = 256 << 20
# Bytes of an error with its traceback, of which a task's process writes less: a turn of the engine's loop
# reads it. A longer one is not read.
_OBJECT_LIMIT = 1 << 20
_TOO_LONG = {"type": "", "message": f"an error with more than {_OBJECT_LIMIT >> 20} MiB, which is not read"}
# So does a result with deeper JSON: some readers of a line give up early, Python's at about 1,000 levels.
DEPTH_LIMIT = 100
# A result that another task refers to may be this deep in every Python: some versions read JSON that
# is deeper than what marshal, which carries it there, can write.
_REFERENCE_DEPTH_LIMIT = 900
# What looks at such a value recurses with up to four frames for each level.
_RECURSION_LIMIT = 10 * _REFERENCE_DEPTH_LIMIT
# An integer with more digits stays in its file: a Python that reads the record may have this limit.
_DIGITS_LIMIT = 640
# How much of a `repr` a reason shows, which is one line of a table.
_MAX_SHOWN_BYTES = 60
# The message of an exception is cut to this many characters.
MESSAGE_LIMIT = 2000


def read_result(files: StateFile) -> tuple[Any, str]:
    """The result of an attempt that succeeded, for the record, and its kind: `none`, `json`, `file`, `repr`.

    The result is None unless the kind is `json`.
    """
    text = _read(files, JSON, RESULT_LIMIT + 1)
    if text is None:
        return None, "repr" if files.with_suffix(REPR).exists() else "none"
    if len(text) > RESULT_LIMIT:
        return None, "file"
    # Not at the top: few tasks have a result, and it compiles regular expressions.
    import json

    try:
        value = json.loads(text) if _unusual_number()(text) is None else _read_strictly(text)
    except (ValueError, RecursionError):
        return None, "file"
    if text.count(b"[") + text.count(b"{") > DEPTH_LIMIT and _is_deep(value):
        return None, "file"
    return value, "json"


def read_value(files: StateFile) -> tuple[Any, str]:
    """The result of an attempt that succeeded, whatever its size, and its kind.

    The kinds are `none`, `json` and `repr`; a file that is not valid JSON counts as `repr`.
    """
    text = _read(files, JSON, VALUE_LIMIT + 1)
    if text is None:
        return None, "repr" if files.with_suffix(REPR).exists() else "none"
    if len(text) > VALUE_LIMIT:
        return None, "repr"
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None, "repr"
    if text.count(b"[") + text.count(b"{") > DEPTH_LIMIT:
        if _is_deep(value, _REFERENCE_DEPTH_LIMIT):
            return None, "repr"
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION_LIMIT))
    return value, "json"


@cache
def _unusual_number() -> Callable[[bytes], re.Match[bytes] | None]:
    """Search JSON for what may be a number that some readers of JSON do not accept."""
    return re.compile(rb"NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{309}").search


def _read_strictly(text: bytes) -> Any:
    """The value of JSON; ValueError if it contains a number that some readers do not accept."""
    import json

    return json.loads(text, parse_int=_short_int, parse_float=_finite, parse_constant=_finite)


def _short_int(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS_LIMIT:
        raise ValueError("an integer with too many digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError("a number that JSON does not have")
    return value


def is_passable(files: StateFile) -> bool:
    """Whether another task can receive a result: it is null, or JSON that is not too deep."""
    text = _read(files, JSON, VALUE_LIMIT + 1)
    if text is None:
        return not files.with_suffix(REPR).exists()
    if len(text) <= VALUE_LIMIT and text.count(b"[") + text.count(b"{") <= DEPTH_LIMIT:
        return True
    return read_value(files)[1] == "json"


def read_repr(files: StateFile, limit: int) -> str | None:
    """The first `limit` bytes of the `repr` of a result; None if there is none."""
    text = _read(files, REPR, limit)
    return None if text is None else text.decode("utf-8", "replace")


class ResultProblem(Frozen):
    """Why a result is not JSON: what was returned, as in "a PosixPath, which is not JSON", and the remedy."""

    what: str
    remedy: str


def read_problem(files: StateFile) -> ResultProblem:
    """Why another task cannot receive a result for which `read_value` returns `repr`."""
    found = read_object(files, PROBLEM) or {}
    if isinstance(what := found.get("what"), str) and isinstance(remedy := found.get("remedy"), str):
        return ResultProblem(what=what, remedy=remedy)
    if files.with_suffix(JSON).size() > VALUE_LIMIT:
        remedy = "write it to a file, and return the path as a string"
        return ResultProblem(what=f"more than {VALUE_LIMIT >> 20} MiB of JSON", remedy=remedy)
    text = read_repr(files, _MAX_SHOWN_BYTES)
    what = "a value that is nested too deeply" if text is None else f"{text}, which is not JSON"
    return ResultProblem(what=what, remedy="return a string instead")


def _is_deep(value: object, limit: int = DEPTH_LIMIT) -> bool:
    """Whether lists and objects are nested more than `limit` levels deep."""
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
    """The exception that ended an attempt, or the error because of which its target was not called.

    `names` are the names of its class and of the bases, with and without their modules; `errno` is
    that of an OSError.
    """

    type: str
    message: str
    names: tuple[str, ...] = ()
    errno: int | None = None


def read_failure(files: StateFile) -> Failure | None:
    """The exception that ended an attempt; None if none did."""
    error = read_error_object(files)
    if error is None:
        return None
    names, number = error.get("bases"), error.get("errno")
    return Failure(
        type=str(error.get("type", "")),
        message=redact_beginning(str(error.get("message", "")), MESSAGE_LIMIT),
        names=tuple(map(str, names)) if isinstance(names, list) else (),
        errno=number if isinstance(number, int) else None,
    )


def read_error(files: StateFile) -> dict[str, str] | None:
    """The type and message of the exception that ended an attempt, as an event has them; None if none did."""
    failure = read_failure(files)
    return None if failure is None else {"type": failure.type, "message": failure.message}


def read_usage(files: StateFile) -> dict[str, Any]:
    """What the process of an attempt measured of itself: its threads, CPU seconds, memory in bytes.

    Empty if it did not, because another process waits for it and measures it.
    """
    usage = read_object(files, USAGE)
    if not usage:
        return {}
    return {
        name: usage[name]
        for name in ("threads", "cpu", "max_rss")
        if isinstance(usage.get(name), (int, float))
    }


def read_error_object(files: StateFile) -> dict[str, Any] | None:
    """The exception that ended an attempt, as its process has written it; None if none did."""
    error = read_object(files, ERROR)
    if error is None and files.with_suffix(ERROR).size() > _OBJECT_LIMIT:
        return _TOO_LONG
    return error


def read_object(files: StateFile, suffix: str) -> dict[str, Any] | None:
    """The JSON object in one of the result files; None if there is none, or if it is too long."""
    text = _read(files, suffix, _OBJECT_LIMIT + 1)
    if text is None or len(text) > _OBJECT_LIMIT:
        return None
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read(files: StateFile, suffix: str, limit: int) -> bytes | None:
    return files.with_suffix(suffix).read(limit)


def adopt(old: RunDirectory, new: RunDirectory, attempts: Mapping[str, int]) -> None:
    """Give a run the result files of tasks of an earlier one, each of the attempt that succeeded.

    Raises RecordError if they cannot be written.
    """
    try:
        for name, attempt in attempts.items():
            source = old.result_files(name, attempt)
            for suffix in ADOPTED_SUFFIXES:
                with contextlib.suppress(FileNotFoundError, FileExistsError):
                    source.with_suffix(suffix).give_to(new.results)
                    if suffix == JSON:
                        # Most results are; there is neither a repr nor a reason.
                        break
    except OSError as error:
        raise RecordError(f"the results of run {old.run_id} cannot be reused: {error.strerror}") from None

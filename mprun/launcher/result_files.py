"""Writes the result files of an attempt: its result, its error, and what it has used.

`mprun.record.results` reads them. A file appears whole or not at all. `files` are what opens the directory
of all of them, and their name without the suffix.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from _io import StringIO

from mprun import failpoints
from mprun.lean_json import encode_strictly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from mprun.launcher.start_error import StartError

    Files = tuple[Callable[[], int], str]

_CREATE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_result(files: Files, value: object) -> str:
    """Write what the target returned: as JSON, or as its repr if it is not JSON, with the reason.

    If it is something that still has to run, so that nothing of the target has, this writes nothing and
    returns what it is and the remedy, with `{0}` for the name of the target.
    """
    try:
        text, suffix = encode_strictly(value), "json"
        if "{" in text:
            _refuse_equal_keys(value)
    except Exception:
        if unfinished := _unfinished(value):
            return unfinished
        _write_problem(files, value)
        text, suffix = _safe_repr(value), "repr"
    _write_whole(files, f".{suffix}", text)
    return ""


_TEXT = {str}
# The types of values that contain no others.
_PLAIN = {str, int, float, bool, type(None)}


def _refuse_equal_keys(value: object) -> None:
    """Raise ValueError if keys of a dict are the same in JSON, such as 1 and "1": one would be lost.

    Passes over strings and numbers at the speed of C, because few results have other keys.
    """
    containers: list[Any] = [value]
    while containers:
        one = containers.pop()
        items = one
        if isinstance(one, dict):
            items = one.values()
            if not _TEXT.issuperset(map(type, one)):
                from mprun.launcher.result_problem import key_text

                if len({key if isinstance(key, str) else key_text(key) for key in one}) < len(one):
                    raise ValueError("equal keys")
        if not _PLAIN.issuperset(map(type, items)):
            containers += [item for item in items if isinstance(item, (dict, list, tuple))]


def _write_problem(files: Files, value: object) -> None:
    """Write why a result is not JSON, as far as that can be found out in this process."""
    try:
        from mprun.launcher.result_problem import describe

        if problem := describe(value):
            _write(files, "problem", problem)
    except Exception:
        # There may be no module to import, or no file to write, any more: the repr says something.
        return


def _unfinished(value: object) -> str:
    kind = type(value)
    if kind.__module__ == "builtins" and kind.__name__ in _UNFINISHED:
        if kind.__name__ == "coroutine":
            # Else Python warns of it, with a line of mprun.
            value.close()  # type: ignore[attr-defined]
        return _UNFINISHED[kind.__name__]
    if hasattr(kind, "__await__"):
        return f"a `{kind.__qualname__}`, which was never awaited; wrap it: `await` it in `asyncio.run`"
    try:
        from mprun.launcher.unfinished_parts import describe

        return describe(value)
    except Exception:
        # There may be no module to import any more.
        return ""


# What a target returned, by its type.
_UNFINISHED = {
    "coroutine": "a coroutine, which was never awaited; wrap it: `asyncio.run({0}())`",
    "generator": "a generator, which was never iterated over; wrap it: `list({0}())`",
    "async_generator": (
        "an async generator, which was never iterated over; wrap it: "
        "`async for item in {0}()`, in a coroutine for `asyncio.run`"
    ),
    "map": "a `map`, which was never iterated over; wrap it: `list({0}())`",
    "filter": "a `filter`, which was never iterated over; wrap it: `list({0}())`",
}


def print_error(files: Files, raised: BaseException, trace: TracebackType | None) -> tuple[str, str]:
    """Print what the target raised to standard error; its message, and the text that was printed.

    `trace` is the part of the traceback to show.
    """
    message, text = _describe(raised, trace)
    try:
        sys.stderr.write(text)
    except Exception:
        # The task has replaced `sys.stderr`; and it may have closed the descriptor.
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))
    return message, text


def _describe(raised: BaseException, trace: TracebackType | None) -> tuple[str, str]:
    try:
        import traceback

        text = "".join(traceback.format_exception(type(raised), raised, trace))
        lines = traceback.format_exception_only(type(raised), raised)
        return "".join(lines).partition(": ")[2].strip(), text
    except Exception:
        # There is no module to import any more, or the task has replaced what it needs.
        return str(raised), _text_in_c(raised, trace)


def _text_in_c(raised: BaseException, trace: TracebackType | None) -> str:
    """A traceback as Python itself writes it, which needs no module."""
    stream, before = StringIO(), sys.stderr
    sys.stderr = stream
    try:
        sys.__excepthook__(type(raised), raised.with_traceback(trace), trace)
    finally:
        sys.stderr = before
    return stream.getvalue()


def write_error(files: Files, raised: BaseException, message: str, text: str) -> None:
    """Write what the target raised, as `print_error` describes it."""
    _write_error(files, raised, message, text)


def write_start_error(files: Files, error: StartError) -> None:
    """Write why the target was not called."""
    _write_error(files, error.cause or error, str(error))


def write_exit_code(files: Files, code: object) -> None:
    """Write the argument with which the target called `sys.exit`."""
    _write_error(files, SystemExit(), str(code))


def write_threads(files: Files, number: int) -> None:
    """Write how many threads the process has at its end."""
    _write(files, "usage", {"threads": number})


def write_usage(files: Files, number: int) -> None:
    """Write how many threads the process has, its CPU time in seconds and its peak memory in bytes."""
    import resource

    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    used = {
        "threads": number,
        "cpu": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        "max_rss": max(own.ru_maxrss, children.ru_maxrss) * 1024,
    }
    _write(files, "usage", used)


def write_modules(files: Files) -> None:
    """Write which files this process has imported that are not part of Python, by the modules' names."""
    from mprun.launcher.module_files import imported_modules, signatures

    modules = imported_modules()
    _write(files, "modules", {"modules": modules, "files": signatures(modules)})


# Characters of the error file, which the engine reads in one turn of its loop; the log has all of them.
_MAX_MESSAGE = 8 * 1024
_MAX_TRACEBACK = 128 * 1024


def _shortened(message: str, traceback: str) -> tuple[str, str]:
    """A message and a traceback that are not too long; the traceback ends with the message, if it did."""
    if len(message) > _MAX_MESSAGE:
        short = f"{message[:_MAX_MESSAGE]}… ({len(message) - _MAX_MESSAGE} more characters in the log)"
        if traceback.rstrip().endswith(message):
            traceback = f"{traceback.rstrip()[: -len(message)]}{short}\n"
        message = short
    if len(traceback) > _MAX_TRACEBACK:
        more = len(traceback) - _MAX_TRACEBACK
        traceback = f"… ({more} more characters in the log)\n{traceback[-_MAX_TRACEBACK:]}"
    return message, traceback


def _write_error(files: Files, raised: BaseException, message: str, traceback: str = "") -> None:
    """Write the error file; its `bases` are the exception's class and bases, with and without module."""
    kind, number = type(raised), getattr(raised, "errno", None)
    if len(message) > _MAX_MESSAGE or len(traceback) > _MAX_TRACEBACK:
        message, traceback = _shortened(message, traceback)
    facts = {
        "type": kind.__qualname__,
        "message": message,
        "traceback": traceback,
        "bases": [
            name
            for base in kind.__mro__[:-1]
            for name in (base.__qualname__, f"{base.__module__}.{base.__qualname__}")
        ],
        # The code that raises an OSError may give it any errno.
        "errno": number if isinstance(raised, OSError) and isinstance(number, int) else None,
    }
    _write(files, "error", facts)


def _write(files: Files, kind: str, value: dict[str, Any]) -> None:
    _write_whole(files, f".{kind}.json", encode_strictly(value))


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as raised:
        return f"<{type(value).__qualname__}, whose repr raised {type(raised).__qualname__}>"


def _write_whole(files: Files, suffix: str, text: str) -> None:
    open_folder, name = files
    folder = open_folder()
    try:
        _write_in(folder, name + suffix, text)
        return
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        before = os.getcwd()
        # The directory has taken the last descriptor: a process has a working directory without one.
        os.fchdir(folder)
    finally:
        os.close(folder)
    try:
        _write_in(None, name + suffix, text)
    finally:
        os.chdir(before)


def _write_in(folder: int | None, name: str, text: str) -> None:
    unfinished = name + ".part"
    try:
        file = os.open(unfinished, _CREATE_NEW, 0o600, dir_fd=folder)
    except FileExistsError:
        # A task has put something in its place. This module is a part of the worker, and imports little.
        from mprun.launcher.own_files import create_anew

        file = create_anew(folder, unfinished, os.O_WRONLY)
    try:
        # Not `open`, which a task may have replaced.
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)
    failpoints.reached("worker.result")
    os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)

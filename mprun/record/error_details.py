"""The exception that ended an attempt: its type, message, traceback, and where it was raised.

Only those who look at a failure import this module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mprun.diagnostics import redact
from mprun.frozen import Frozen
from mprun.record import results
from mprun.record.state_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mprun.record.state_files import StateFile

# Characters of a traceback, the end of which says most.
TRACEBACK_LIMIT = 64 * 1024

_HEADER = "Traceback (most recent call last):\n"
# A line of a traceback; in a group of exceptions, bars are in front of it. A SyntaxError has no `in`.
_FRAME = re.compile(r'^(?:  \|)? {2,3}File "(.+)", line ([0-9]+)(?:, in .*)?$', re.MULTILINE)
# The number of a line has fewer digits.
_MAX_DIGITS = 12
# Where Python's own modules and installed packages are, whatever machine ran the task.
_LIBRARY = re.compile(r"[/\\](?:site-packages|dist-packages|lib(?:64)?/python3(?:\.[0-9]+t?)?)[/\\]|^<")


class ErrorDetails(Frozen):
    """The exception that ended a task's attempt.

    `type` is the name of its class. `traceback` is the text that Python prints, at most its last 64 KiB;
    empty if the target was not called. `file` and `line` are of the innermost frame that is not in an
    installed package or in Python's own library, else of the innermost; None if there is no traceback.
    """

    type: str
    message: str
    traceback: str = ""
    file: str | None = None
    line: int | None = None


def read_details(files: StateFile) -> ErrorDetails | None:
    """The exception that ended the attempt with these result files; None if none did."""
    error = results.read_error_object(files)
    if error is None:
        return None
    message, traceback = (_text(error.get(key)) for key in ("message", "traceback"))
    file, line = place(traceback, message)
    return ErrorDetails(
        type=_text(error.get("type")),
        message=redact(message)[: results.MESSAGE_LIMIT],
        traceback=redact(traceback)[-TRACEBACK_LIMIT:],
        file=file,
        line=line,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def place(traceback: str, message: str) -> tuple[str | None, int | None]:
    """The file and line of the innermost frame of the user's code in a traceback; None if it has none.

    `message` is the exception's, which may look like a frame.
    """
    head = traceback.rstrip()
    if message and head.endswith(message):
        head = head[: -len(message)]
    # What led to the exception comes before it; the exceptions of a group come after it.
    head = head.split("\n  +-+-", 1)[0].rpartition(_HEADER)[2]
    frames = list(_frames(head))
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    return (own or frames)[-1] if frames else (None, None)


def _frames(text: str) -> Iterator[tuple[str, int]]:
    for found in _FRAME.finditer(text):
        if len(found[2]) < _MAX_DIGITS:
            yield found[1], int(found[2])


def read_error_of(path: str, task: str, attempts: int) -> ErrorDetails | None:
    """The exception that ended a task's last attempt, in the record at `path`; None if none did."""
    if not path or attempts < 1:
        return None
    directory = RunDirectory(path)
    try:
        return read_details(directory.result_files(task, attempts))
    finally:
        directory.close()


def find_log(path: str, task: str, attempts: int) -> str | None:
    """As `log_path`, in the record at `path`."""
    if not path:
        return None
    directory = RunDirectory(path)
    try:
        return log_path(directory, task, attempts)
    finally:
        directory.close()


def log_path(directory: RunDirectory, task: str, attempts: int) -> str | None:
    """The path of the log of a task's last attempt; None if there is none."""
    if attempts < 1:
        return None
    log = directory.log_file(task, attempts)
    return log.path if log.exists() else None

"""Keeps the traceback of an exception that is a defect of mprun, in a file that a report can contain."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mprun.diagnostics import redact
from mprun.record.commands import short_path

if TYPE_CHECKING:
    from mprun.record.state_dir import RunDirectory

# Its name in the directory of the run.
TRACEBACK = "traceback.txt"
_MESSAGE_CHARACTERS = 200


def keep_traceback(error: Exception, directory: RunDirectory | None = None) -> str:
    """Append the traceback to a file of the run, else to a temporary file; what to say of it."""
    import traceback

    text = redact("".join(traceback.format_exception(error))).encode("utf-8", "backslashreplace")
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if len(what) > _MESSAGE_CHARACTERS:
        what = f"{what[:_MESSAGE_CHARACTERS]}…"
    try:
        path, file = _open(directory)
        with open(file, "ab") as stream:
            stream.write(text)
    except OSError as failure:
        return (
            f"internal error: {what}; please report it (its traceback cannot be written: {failure.strerror})"
        )
    return f"internal error: {what}; please report it with {path}"


def _open(directory: RunDirectory | None) -> tuple[str, int]:
    if directory is not None:
        file = directory.folder.file(TRACEBACK)
        try:
            return short_path(file.path), file.open(os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError:
            # The record may have been removed, or its disk be full.
            pass
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="mprun-", suffix=f"-{TRACEBACK}")
    return path, descriptor

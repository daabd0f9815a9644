"""Opens files of the run by their names, in whose place a task may have put something else.

Most files are new: they are created with O_EXCL, which opens nothing that is there already. Here is what
happens if that fails, and how a file is opened again. Nothing is written to a FIFO, a device, a file of
another user or one that has another name, too. Such an entry is removed, which changes nothing but the
directory of the run, and a new file takes its place.
"""

from __future__ import annotations

import contextlib
import os

from mprun.linux.file_kinds import why_not_own

# A link or a FIFO is not followed, and does not wait until another process opens it, too.
AS_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# A task may put something there again and again.
TRIES = 10


class NotOwn(OSError):
    """A file of the run has something else in its place, `strerror` says what."""


def open_own(folder: int | None, name: str, flags: int) -> int:
    """Open a file of the run's own, in an open directory; None means the working directory.

    With O_CREAT in `flags` it is created if it is not there, or if something else is in its place, which the
    log says. Raises OSError if that is not possible; without O_CREAT NotOwn for something else.
    """
    what = ""
    for _ in range(TRIES):
        try:
            found = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            try:
                return os.open(name, flags | os.O_EXCL | AS_FILE, 0o600, dir_fd=folder)
            except FileExistsError:
                continue
        # Looked at first: to open a device may do something.
        what = why_not_own(found)
        if not what:
            file = os.open(name, flags & ~(os.O_CREAT | os.O_TRUNC) | AS_FILE, dir_fd=folder)
            what = why_not_own(os.fstat(file))
            if not what:
                if flags & os.O_TRUNC:
                    os.ftruncate(file, 0)
                return file
            os.close(file)
        if not flags & os.O_CREAT:
            break
        os.unlink(name, dir_fd=folder)
        _say(f"mprun: {name} was {what}; a new file takes its place\n")
    raise NotOwn(17, f"{name} is {what}", name)


def append(folder: int, name: str, text: str) -> None:
    """Append lines to a log in a directory, or to that of the main process if something else is in its place.

    Raises OSError.
    """
    try:
        log = open_own(folder, name, os.O_RDWR | os.O_APPEND)
    except NotOwn as error:
        _say(f"mprun: {error.strerror}; it would have got:\n{text}")
        return
    try:
        size = os.fstat(log).st_size
        if size and os.pread(log, 1, size - 1) != b"\n":
            text = "\n" + text
        # In one piece: threads of the task may still write.
        os.write(log, text.encode("utf-8", "backslashreplace"))
    finally:
        os.close(log)


def create_anew(folder: int | None, name: str, flags: int) -> int:
    """Create a file that no process reads yet, in place of whatever has its name. Raises OSError."""
    for _ in range(TRIES):
        try:
            return os.open(name, flags | os.O_CREAT | os.O_EXCL | AS_FILE, 0o600, dir_fd=folder)
        except FileExistsError:
            os.unlink(name, dir_fd=folder)
    raise FileExistsError(17, "something is put in its place again and again", name)


def _say(text: str) -> None:
    # It may be full.
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace"))

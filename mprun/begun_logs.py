"""Which attempts have had a process, by the names of their logs: a log is there, or its name was noted.

The process of a target opens its log before anything else. The log of a command is created once it prints
something, so its name is noted first, in a file beside the logs.
"""

from __future__ import annotations

import errno
import io
import os
import stat

# The name of that file: a line for each command that was to have a process, the name of its log; after a dash
# if it got none. The last line about a log counts.
BEGUN = "begun"
# A task may write to it: so much of it is read, in bytes, which a million commands may need.
MAX_BYTES = 1 << 24


def note(file: int, log: str, *, begun: bool = True) -> None:
    """Add a line to the open file. Raises OSError, also if there was room for a part of it."""
    # A part of the last one, for which there was no more room, is ended here, and is the name of no log.
    line = f"\n{'' if begun else '-'}{log}\n".encode()
    if os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def begun_logs(logs: int) -> frozenset[str]:
    """The names, and those of all other entries of an open directory of logs. Raises OSError."""
    noted = set()
    for line in io.BytesIO(_read(logs)):
        if line.endswith(b".log\n"):
            name = line[:-1].decode("utf-8", "replace")
            if name[0] == "-":
                noted.discard(name[1:])
            else:
                noted.add(name)
    return frozenset(os.listdir(logs)).union(noted)


def _read(logs: int) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        file = os.open(BEGUN, flags, dir_fd=logs)
    except OSError:
        # Few runs have one; a link is not followed.
        return b""
    try:
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        with open(file, "rb", closefd=False) if is_file else io.BytesIO() as stream:
            return stream.read(MAX_BYTES)
    finally:
        os.close(file)

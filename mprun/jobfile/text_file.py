"""Reads the files that a user names, up to a size limit, and says why one cannot be read."""

from __future__ import annotations

import os
import stat

from mprun.diagnostics import quote
from mprun.errors import UsageError

# Bytes of an env file, or of the file of a param.
MAX_BYTES = 1024 * 1024

# What is not read, because it may have no end, or an effect when it is opened or read.
_KINDS = (
    (stat.S_ISFIFO, "a FIFO, "),
    (stat.S_ISSOCK, "a socket, "),
    (stat.S_ISCHR, "a device, "),
    (stat.S_ISBLK, "a device, "),
)


class NotRegular(UsageError):
    """The file is not a regular file; `name` is what messages call it."""

    def __init__(self, name: str, mode: int) -> None:
        self.is_directory = stat.S_ISDIR(mode)
        what = next((words for is_kind, words in _KINDS if is_kind(mode)), "")
        regular = f"{what}not a regular file; copy what it has to one"
        super().__init__(f"{name} is {'a directory' if self.is_directory else regular}")


def read_bytes(path: str, max_bytes: int, kind: str = "", purpose: str = "") -> bytes:
    """The bytes of a regular file, cut after `max_bytes` + 1, so that a caller can tell that it is too large.

    `kind` and `purpose` are what messages say before and after its name, such as "env file" and
    " of param `day`". Raises UsageError, caused by the
    OSError or ValueError, for a file that does not exist or cannot be read, and NotRegular for a
    directory, a FIFO, a terminal or another device: none of them is waited for.
    """
    name = (f"{kind} {quote(path)}" if kind else quote(path)) + purpose
    try:
        # Opening a FIFO waits for a writer, and a terminal may become that of the process.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageError(f"{name} not found") from error
    except PermissionError as error:
        raise UsageError(f"permission denied: {quote(path)}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {name}: {_reason(error)}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise NotRegular(name, mode)
        return _read(descriptor, max_bytes + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {_reason(error)}") from error
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    """The bytes of a file up to `size`; one of /proc may say that it is empty, or have no end."""
    pieces = [os.read(descriptor, size)]
    left = size - len(pieces[0])
    while left and pieces[-1]:
        pieces.append(os.read(descriptor, left))
        left -= len(pieces[-1])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_text(path: str, kind: str, purpose: str = "") -> tuple[str, bytes]:
    """The text of a file, without a byte order mark, line ends kept, and its bytes.

    `kind` and `purpose` are as for `read_bytes`. Raises UsageError for a file that does not exist, is not a
    regular file, cannot be read, has more than 1 MiB or is not UTF-8; no message quotes its text.
    """
    data = read_bytes(path, MAX_BYTES, kind, purpose)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{kind} {quote(path)}{purpose} is too large (limit: 1 MiB)")
    try:
        return data.decode("utf-8").removeprefix("\ufeff"), data
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"{kind} {quote(path)}{purpose} on line {line}"
        raise UsageError(f"invalid UTF-8 in {where}; save it as UTF-8") from None

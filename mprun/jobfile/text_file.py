"""Reads the files that a user names, up to a size limit, and says why one cannot be read."""

from __future__ import annotations

from mprun.diagnostics import quote
from mprun.errors import UsageError

# Bytes of an env file, or of the file of a param.
MAX_BYTES = 1024 * 1024


def read_bytes(path: str, max_bytes: int, kind: str = "", purpose: str = "") -> bytes:
    """The bytes of a file, cut after `max_bytes` + 1, so that the caller can tell that it is too large.

    `kind` and `purpose` are what messages say before and after its name, such as "env file" and
    " of param `day`". Raises UsageError, caused by the
    OSError or ValueError, for a file that does not exist, is a directory or cannot be read.
    """
    name = (f"{kind} {quote(path)}" if kind else quote(path)) + purpose
    try:
        with open(path, "rb") as file:
            # Never all of it: /dev/zero has no end.
            return file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{name} not found") from error
    except IsADirectoryError as error:
        raise UsageError(f"{name} is a directory") from error
    except PermissionError as error:
        raise UsageError(f"permission denied: {quote(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {name}: {reason}") from error


def read_text(path: str, kind: str, purpose: str = "") -> str:
    """The text of a file, without a byte order mark; line ends are kept.

    `kind` and `purpose` are as for `read_bytes`. Raises UsageError for a file that does not exist, is a
    directory, cannot be read, has more than 1 MiB or is not UTF-8; no message quotes its text.
    """
    data = read_bytes(path, MAX_BYTES, kind, purpose)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{kind} {quote(path)}{purpose} is too large (limit: 1 MiB)")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"{kind} {quote(path)}{purpose} on line {line}"
        raise UsageError(f"invalid UTF-8 in {where}; save it as UTF-8") from None

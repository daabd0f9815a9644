"""The text of a small file that the user named, or why it cannot be had."""

from __future__ import annotations

from mprun.diagnostics import quote
from mprun.errors import UsageError

MAX_BYTES = 1024 * 1024


def read_text(path: str, what: str) -> str:
    """The text of a file, without a byte order mark; lines end as they do in the file.

    `what` is what messages call it, such as "env file". Raises UsageError for a file that
    is not there, is a directory, may not be read, has more than 1 MiB, or is not UTF-8;
    nothing of what stands in it is in the message.
    """
    try:
        with open(path, "rb") as file:
            # One byte too many is enough to refuse it: /dev/zero has no end.
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{what} {quote(path)} not found") from None
    except IsADirectoryError:
        raise UsageError(f"{what} {quote(path)} is a directory") from None
    except PermissionError:
        raise UsageError(f"permission denied: {quote(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {what} {quote(path)}: {reason}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{what} {quote(path)} is too large (limit: 1 MiB)")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"invalid UTF-8 in {what} {quote(path)} on line {line}; save it as UTF-8") from None

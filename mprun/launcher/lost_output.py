"""Notes in a log that a part of it is lost."""

from __future__ import annotations

import os

from mprun.launcher import worker


def note(log: str, lost_bytes: int) -> None:
    """Append to a log that its task truncated it; at least `lost_bytes` bytes are lost. Raises OSError."""
    text = f"mprun: this log was truncated while the task ran; at least {lost_bytes} bytes are lost\n"
    file = worker.open_log(log, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)

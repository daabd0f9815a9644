"""The temporary directory of an agent, which no kill leaves behind for good.

An agent locks its directory, and the kernel drops the lock when its processes have ended, however they end.
So the next agent on the host can tell what is abandoned.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile

_PREFIX = "mprun-host-"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_directory(run_id: str) -> tuple[str, int]:
    """Make a directory for an agent; its path, and the descriptor that holds its lock. Raises OSError."""
    remove_abandoned()
    while True:
        path = tempfile.mkdtemp(prefix=f"{_PREFIX}{run_id}-")
        try:
            descriptor = os.open(path, _FLAGS)
        except FileNotFoundError:
            # Another agent has taken it for abandoned, before it was locked.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another agent is about to remove it.
            os.close(descriptor)
            continue
        except OSError:
            # Without locks no agent removes the directory of another.
            pass
        if os.path.isdir(path):
            return path, descriptor
        os.close(descriptor)


def remove_abandoned() -> None:
    """Remove what agents of this user have left that were killed."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    descriptor = os.open(path, _FLAGS)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
    finally:
        os.close(descriptor)

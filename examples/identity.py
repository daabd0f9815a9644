"""The identity of a task, seen from inside its process."""

from __future__ import annotations

import os
from multiprocessing import current_process
from typing import TypedDict


class Identity(TypedDict):
    """A process as it sees itself; `process` is what `current_process()` prints."""

    pid: int
    ppid: int
    name: str
    daemon: bool
    process: str


def identity() -> Identity:
    process = current_process()
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "name": process.name,
        "daemon": process.daemon,
        "process": repr(process),
    }


def introduce(role: str) -> Identity:
    """Print the identity of this process, and return it."""
    me = identity()
    print(f"{role}: pid={me['pid']} ppid={me['ppid']} {me['process']}")
    return me

"""Says in the environment of a process which run, task and attempt it belongs to."""

from __future__ import annotations

import ctypes
import os

RUN_ID = "MPRUN_RUN_ID"


def name_run(run_id: str) -> None:
    """Set MPRUN_RUN_ID in the launcher, also where /proc shows the environment of its forks.

    /proc/PID/environ is the memory in which the kernel has put the environment of the last
    exec, and a fork gets a copy of it. A launcher that was forked writes the variable over
    the end of that memory: so who looks for what a killed run has left, finds also what
    hid in a session of its own, closed every descriptor, and never became another program.
    """
    os.environ[RUN_ID] = run_id
    start, end = _area()
    entry = f"{RUN_ID}={run_id}\0".encode()
    shown = ctypes.string_at(start, end - start) if start else b""
    if entry in shown or len(shown) < len(entry):
        return
    # From the beginning of a variable on, so that the others stay whole and in their place.
    first = shown.rfind(b"\0", 0, len(shown) - len(entry)) + 1
    for variable in shown[first:].split(b"\0"):
        name = variable.partition(b"=")[0]
        if name in os.environb:
            # C has pointers to what is there; this gives it a copy of its own.
            os.putenv(name, os.environb[name])
    ctypes.memmove(start + first, entry.ljust(len(shown) - first, b"\0"), len(shown) - first)


def _area() -> tuple[int, int]:
    """Where the environment of the last exec begins and ends: fields 50 and 51 of proc(5)'s stat."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[47]), int(fields[48])
    except (OSError, IndexError):
        return 0, 0


def name_attempt(task: str, attempt: int) -> None:
    """Set MPRUN_TASK and MPRUN_ATTEMPT in the launcher, from which a task inherits them.

    In the task it would cost the copies of some fifty pages.
    """
    _set_variable(b"MPRUN_TASK", task.encode())
    _set_variable(b"MPRUN_ATTEMPT", str(attempt).encode())


def _set_variable(name: bytes, value: bytes) -> None:
    """As `os.environb[name] = value`, without what that does to a name and value of any type.

    Whatever the locale, the environment is UTF-8. Each page that the launcher touches
    between two forks costs the copy of that page (`make bench`).
    """
    os.putenv(name, value)
    os.environb._data[name] = value  # type: ignore[attr-defined]

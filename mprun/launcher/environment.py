"""Sets the environment variables that name the run, the task and the attempt of a process."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO

RUN_ID = "MPRUN_RUN_ID"
# How the variables begin that set params, which may be secret (`mprun.jobfile.model.PARAM_VARIABLE`).
PARAM_PREFIX = b"MPRUN_PARAM_"
# The newest Python that was tried with an overwritten environment: `mprun.__main__` forks no launcher on a
# newer one, and a launcher that is a new Python has the variable from its start.
TRIED_PYTHON = (3, 15)


def tag_run(run_id: str) -> None:
    """Set MPRUN_RUN_ID in the launcher, also in the environment that /proc shows for its forks.

    /proc/PID/environ is the memory in which the kernel has put the environment at the last exec, and
    a fork gets a copy of it. A launcher that was forked writes the variable over the end of that
    memory. Thus crash recovery also finds processes of a killed run that started a session, closed
    every descriptor, and never executed another program.
    """
    os.environ[RUN_ID] = run_id
    if sys.version_info[:2] > TRIED_PYTHON:
        return
    start, end = _area()
    entry = f"{RUN_ID}={run_id}\0".encode()
    with contextlib.suppress(OSError), open("/proc/self/mem", "r+b", buffering=0) as memory:
        _overwrite(memory, start, end, entry)


def withhold_params() -> None:
    """Take the variables that set params out of the launcher's environment, which every task gets.

    The engine gives them to the tasks that refer to them.
    """
    for name in [name for name in os.environb if name.startswith(PARAM_PREFIX)]:
        del os.environb[name]


def finish_python() -> None:
    """Have Python programs that tasks run end with their script, unless the job sets PYTHONINSPECT itself.

    With the variable they would go on as an interactive session, whose exit code is 0 after an error.
    """
    os.environ.pop("PYTHONINSPECT", None)


def unbuffer_python() -> None:
    """Have Python programs that tasks run write what they print at once, unless it is set otherwise.

    Into a pipe or a file they write only when 8 KiB have come together: a log would be empty for as long
    as a server has little to say.
    """
    os.environ.setdefault("PYTHONUNBUFFERED", "1")


def _overwrite(memory: FileIO, start: int, end: int, entry: bytes) -> None:
    memory.seek(start)
    shown = memory.read(end - start)
    if PARAM_PREFIX in shown:
        _clear_params(memory, start, shown)
    if entry in shown or len(shown) < len(entry):
        return
    # Begin at the start of a variable, so that the others stay as they are.
    first = shown.rfind(b"\0", 0, len(shown) - len(entry)) + 1
    for variable in shown[first:].split(b"\0"):
        name = variable.partition(b"=")[0]
        if name in os.environb:
            # C has pointers into this memory; `putenv` gives it a copy.
            os.putenv(name, os.environb[name])
    memory.seek(start + first)
    memory.write(entry.ljust(len(shown) - first, b"\0"))


def _clear_params(memory: FileIO, start: int, shown: bytes) -> None:
    """Clear the variables that `withhold_params` took out in what /proc shows; C has no pointer to them."""
    for variable in shown.split(b"\0"):
        if variable.startswith(PARAM_PREFIX):
            memory.seek(start)
            memory.write(bytes(len(variable)))
        start += len(variable) + 1


def _area() -> tuple[int, int]:
    """The addresses of the environment of the last exec: fields 50 and 51 of /proc/PID/stat (proc(5))."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[47]), int(fields[48])
    except (OSError, IndexError):
        return 0, 0


def tag_attempt(task: str, attempt: int) -> None:
    """Set MPRUN_TASK and MPRUN_ATTEMPT in the launcher; a new Python inherits them."""
    # UTF-8 in any locale.
    os.environb.update({b"MPRUN_TASK": task.encode(), b"MPRUN_ATTEMPT": str(attempt).encode()})

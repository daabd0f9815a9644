"""A limit of each process shows of which run and task it is (`RLIMIT_RTTIME`, setrlimit(2)).

All that descends from a task inherits the limit, in any session and with any environment. It is so high
that it limits nothing. Its low bits are the pid of the task's process, the others a number of the run's
directory, which no copy or forgery of a record has.
"""

from __future__ import annotations

from mprun.linux import procfs
from mprun.linux.wait4 import soft_limit

# The same as in `mprun.launcher.worker`, which imports nothing.
RLIMIT_RTTIME = 15
TAG = 1 << 62
PID_BITS = 23
_RUN_BITS = 39
_PID_MASK = (1 << PID_BITS) - 1
# In the launcher: pids that were not known at the start, by what is in the tag (`starting_tags`).
stand_ins: dict[int, int] = {}


def tag_of(identity: str) -> int:
    """The tag of all processes of a run, without the pid; `identity` is that of the run's directory.

    It is the same in every version of Python, and needs no import: FNV-1a.
    """
    number = 0xCBF29CE484222325
    for byte in identity.encode():
        number = (number ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return TAG | number >> 64 - _RUN_BITS << PID_BITS


def run_of(pid: int) -> int:
    """The tag of the run that a process descends from, as `tag_of` returns it; 0 if it has none."""
    return _limit(pid) & ~_PID_MASK


def task_of(pid: int) -> int:
    """The pid of the task's process from which a process descends; 0 if it has no tag."""
    number = _limit(pid) & _PID_MASK
    return stand_ins.get(number, number)


def _limit(pid: int) -> int:
    try:
        limit = soft_limit(pid, RLIMIT_RTTIME)
    except OSError:
        # It has changed its user, or is gone.
        limit = procfs.real_time_limit(pid)
    return limit if TAG <= limit < 2 * TAG else 0

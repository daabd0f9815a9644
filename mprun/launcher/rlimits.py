"""Sets the limits of a task's process from within, before its target runs (setrlimit(2)).

The soft limit is what a task reaches. For a target, the hard limits of the address space and
of open files are a little higher, so that the worker can write an error when the soft limit is
reached: a task could raise its own limit by that margin, and no more. For a command, soft and
hard limits are equal, because some programs raise the one to the other when they start.
"""

from __future__ import annotations

import os
from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE, getrlimit, setrlimit

from mprun.launcher.start_error import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What the worker may use beyond a soft limit that was reached.
MARGIN_BYTES = 32 * 1024 * 1024
MARGIN_FILES = 16
# The largest limit of the kernel; it takes more for no limit.
MAX_LIMIT = 2**63 - 1
# The time between SIGXCPU, which a task may handle to clean up, and SIGKILL, in seconds.
MARGIN_SECONDS = 1

_UNITS = {"memory": " bytes", "cpu_time": "s"}


class LimitError(StartError):
    """A limit that cannot be set; the message has its name and the reason."""


class SoftLimits:
    """The soft limits that the worker lifts when the target has ended.

    They are given as (soft, hard), None for no limit. What `lift` needs is created in advance:
    when the memory is used up, not even a small object can be created.
    """

    __slots__ = ("_files", "_memory")

    def __init__(self, files: tuple[int, int] | None, memory: tuple[int, int] | None) -> None:
        self._files = files and (files[1], files[1])
        self._memory = memory and (memory[1], memory[1])

    def lift(self) -> None:
        """Raise the soft limits of memory and open files to the hard limits."""
        try:
            if self._memory is not None:
                setrlimit(RLIMIT_AS, self._memory)
            if self._files is not None:
                setrlimit(RLIMIT_NOFILE, self._files)
        except (OSError, ValueError):
            # The task has changed its limits.
            return


def impose(limits: dict[str, Any], position: int, *, with_margin: bool) -> SoftLimits:
    """Set the limits, by their names in the job file, in bytes, seconds and numbers.

    `with_margin` is for a target; without it hard and soft limits are equal, and the memory may be
    less than Python itself uses. `position` is the task's place in the job: tasks that ask for a
    number of cores get different ones by it. Raises LimitError if a limit cannot be set.
    """
    files, memory = (MARGIN_FILES, MARGIN_BYTES) if with_margin else (0, 0)
    # All are checked before the first is set: reporting one that cannot be set needs memory and files.
    time = _checked(limits, "cpu_time", _cpu_time)
    open_files = _checked(limits, "open_files", lambda most: _pair(RLIMIT_NOFILE, most, files))
    address_space = _checked(limits, "memory", lambda most: _memory(most, memory))
    _checked(limits, "cpus", lambda cpus: _set_cpus(cpus, position))
    _checked(limits, "nice", lambda nice: os.setpriority(os.PRIO_PROCESS, 0, nice))
    soft_limits = SoftLimits(open_files, address_space)
    # Memory is the last, because there may be little of it from then on.
    for which, pair in ((RLIMIT_CPU, time), (RLIMIT_NOFILE, open_files), (RLIMIT_AS, address_space)):
        if pair is not None:
            setrlimit(which, pair)
    return soft_limits


def _checked(limits: dict[str, Any], name: str, check: Callable[[Any], Any]) -> Any:
    """What `check` returns for a limit; None if there is no limit. Raises LimitError if it raises."""
    value = limits.get(name)
    if value is None:
        return None
    try:
        return check(value)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    shown = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
    raise LimitError(f"limits.{name} of {shown}{_UNITS.get(name, '')} cannot be set: {reason}")


def _pair(which: int, soft: int, margin: int) -> tuple[int, int]:
    """The soft and the hard limit to set.

    They are never above the present hard limit, even if privileges would allow it: a job means the
    same for root as for other users.
    """
    _, most = getrlimit(which)
    if most == RLIM_INFINITY:
        most = MAX_LIMIT
    if soft > most:
        raise ValueError(f"the hard limit is {most}")
    return soft, min(soft + margin, most)


def _memory(most: int, margin: int) -> tuple[int, int]:
    # A program that is exec'd begins with a new address space.
    if margin and most < (present := _address_space()):
        raise ValueError(f"Python and the imported modules already use {present}")
    return _pair(RLIMIT_AS, most, margin)


def _cpu_time(most: float) -> tuple[int, int]:
    # In whole seconds; the kernel takes 0 for 1.
    return _pair(RLIMIT_CPU, max(1, -int(-most // 1)), MARGIN_SECONDS)


def _address_space() -> int:
    """The size of this process in bytes, as RLIMIT_AS counts it; 0 on systems without /proc."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def _set_cpus(wanted: int | tuple[int, ...], position: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system cannot bind processes to cores")
    usable = sorted(os.sched_getaffinity(0))
    if isinstance(wanted, int):
        # At most all of them, so that a job also runs on a smaller machine.
        first = position * wanted
        wanted = tuple(usable[(first + n) % len(usable)] for n in range(min(wanted, len(usable))))
    try:
        os.sched_setaffinity(0, wanted)
    except (OSError, OverflowError, MemoryError):
        if not (missing := set(wanted) - set(usable)):
            raise
    else:
        # If at least one exists, the kernel silently ignores the others.
        missing = set(wanted) - os.sched_getaffinity(0)
    if missing:
        raise ValueError(f"core {min(missing)} is not available (available: {', '.join(map(str, usable))})")

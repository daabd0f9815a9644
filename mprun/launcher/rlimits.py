"""The limits of a task's process, set from within before its target runs.

Setting a soft limit is enough to hold a task to it. Of the address space and of open
files the hard limit is a little higher where a target is called, so that the worker can
write down what happened when the soft one was reached: a task could raise its own limit by
that much, and by no more. A command has soft and hard limits alike: some programs raise
the one to the other when they start.
"""

from __future__ import annotations

import os
from resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE, getrlimit, setrlimit

from mprun.launcher.start_error import StartError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What the worker may use beyond a limit that was reached: bytes of memory, files.
SPARE_MEMORY = 32 * 1024 * 1024
SPARE_FILES = 16
# What the kernel can count to, and takes for no limit beyond.
LARGEST = 2**63 - 1
# Seconds between SIGXCPU, which a task may catch to put its things in order, and SIGKILL.
SPARE_SECONDS = 1

_UNITS = {"memory": " bytes", "cpu_time": "s"}


class LimitError(StartError):
    """A limit that cannot be set; the message names it, and the reason."""


class Held:
    """What the worker raises again when the target is over; given as (soft, hard), None for no limit.

    What `lift` needs is made beforehand: where the memory is used up, not even a small
    object can be made any more.
    """

    __slots__ = ("_files", "_memory")

    def __init__(self, files: tuple[int, int] | None, memory: tuple[int, int] | None) -> None:
        self._files = files and (files[1], files[1])
        self._memory = memory and (memory[1], memory[1])

    def lift(self) -> None:
        """Raise the soft limits of memory and open files to the hard ones."""
        try:
            if self._memory is not None:
                setrlimit(RLIMIT_AS, self._memory)
            if self._files is not None:
                setrlimit(RLIMIT_NOFILE, self._files)
        except (OSError, ValueError):
            # The task has set limits of its own.
            return


def impose(limits: dict[str, Any], position: int, *, spare: bool) -> Held:
    """Set the limits, by their names in the job file; bytes, seconds, numbers.

    `spare` is for a target; without it the hard limits are as low as the soft ones, and
    the memory may be less than Python itself takes. `position`, the task's place in the
    job, has tasks that ask for some cores take different ones. Raises LimitError where a
    limit cannot be set.
    """
    files, memory = (SPARE_FILES, SPARE_MEMORY) if spare else (0, 0)
    # All are checked before the first is set: what says that one cannot be needs memory and files.
    time = _checked(limits, "cpu_time", _cpu_time)
    open_files = _checked(limits, "open_files", lambda most: _pair(RLIMIT_NOFILE, most, files))
    address_space = _checked(limits, "memory", lambda most: _memory(most, memory))
    _checked(limits, "cpus", lambda cpus: _set_cpus(cpus, position))
    _checked(limits, "nice", lambda nice: os.setpriority(os.PRIO_PROCESS, 0, nice))
    held = Held(open_files, address_space)
    # Memory is the last: from there on there may be little of it.
    for which, pair in ((RLIMIT_CPU, time), (RLIMIT_NOFILE, open_files), (RLIMIT_AS, address_space)):
        if pair is not None:
            setrlimit(which, pair)
    return held


def _checked(limits: dict[str, Any], name: str, check: Callable[[Any], Any]) -> Any:
    """What `check` makes of a limit, None where there is none. Raises LimitError where it raises."""
    value = limits.get(name)
    if value is None:
        return None
    try:
        return check(value)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    shown = f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else value
    raise LimitError(f"limits.{name} of {shown}{_UNITS.get(name, '')} cannot be set: {reason}")


def _pair(which: int, soft: int, spare: int) -> tuple[int, int]:
    """Soft and hard limit to set.

    Never above the present hard limit, also where privileges would allow it: a job does
    not mean another thing for root.
    """
    _, most = getrlimit(which)
    if most == RLIM_INFINITY:
        most = LARGEST
    if soft > most:
        raise ValueError(f"the hard limit is {most}")
    return soft, min(soft + spare, most)


def _memory(most: int, spare: int) -> tuple[int, int]:
    # A program that is exec'd begins with an address space of its own.
    if spare and most < (present := _address_space()):
        raise ValueError(f"Python and the modules in the process take {present} already")
    return _pair(RLIMIT_AS, most, spare)


def _cpu_time(most: float) -> tuple[int, int]:
    # Whole seconds, and of none at all the kernel makes one.
    return _pair(RLIMIT_CPU, max(1, -int(-most // 1)), SPARE_SECONDS)


def _address_space() -> int:
    """The size of this process in bytes, as RLIMIT_AS counts it; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def _set_cpus(wanted: int | tuple[int, ...], position: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise ValueError("this system does not tie processes to cores")
    usable = sorted(os.sched_getaffinity(0))
    if isinstance(wanted, int):
        # At most all of them: on a smaller machine a job runs as well as it can.
        first = position * wanted
        wanted = tuple(usable[(first + n) % len(usable)] for n in range(min(wanted, len(usable))))
    try:
        os.sched_setaffinity(0, wanted)
    except (OSError, OverflowError, MemoryError):
        if not (missing := set(wanted) - set(usable)):
            raise
    else:
        # Where at least one is there, the kernel leaves out the others without a word.
        missing = set(wanted) - os.sched_getaffinity(0)
    if missing:
        raise ValueError(f"core {min(missing)} is not there; there are {', '.join(map(str, usable))}")

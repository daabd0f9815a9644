"""wait4(2): how a child ended and what it used, in one call; prlimit(2): the limit of a process.

`os.wait4` imports a module and creates sixteen numbers, of which three are needed here. In a
launcher that has just forked, each of these steps copies a page of memory: together they cost a
twentieth of a short task (`python benchmarks/fork_cost.py`).
"""

from __future__ import annotations

import os
import sys

# Not from `typing`, which takes longer to import than everything else that a launcher needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# The newest Python on which the private names of `_ctypes` were tried.
TRIED_PYTHON = (3, 15)
_wait4 = _prlimit = 0
# struct rusage has this layout only on 64-bit Linux.
if sys.version_info[:2] <= TRIED_PYTHON and sys.platform == "linux" and sys.maxsize > 2**32:
    import _ctypes
    from _ctypes import call_function

    class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "i"

    class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "l"

    class _Status(_ctypes.Array):  # type: ignore[type-arg]
        _type_, _length_ = _Int, 1

    class _Usage(_ctypes.Array):  # type: ignore[type-arg]
        """struct rusage, getrusage(2): two times in seconds and microseconds, the max RSS in KiB, more."""

        _type_, _length_ = _Long, 18

    # For the launcher alone, which has one thread.
    _status: Any = _Status()
    _usage: Any = _Usage()
    _program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: this program
    _wait4, _prlimit = _ctypes.dlsym(_program, "wait4"), _ctypes.dlsym(_program, "prlimit")
else:
    # `os.wait4` imports it after it has reaped: by then there may be no descriptor for that.
    import resource


def wait(pid: int, flag: int = os.WNOHANG) -> tuple[int, float, int] | None:
    """Reap a child: its raw status, its CPU time in seconds and its peak memory in bytes.

    None if `flag` is WNOHANG and the child has not ended. Raises ChildProcessError if it is not
    a child of this process, or has been reaped already.
    """
    if _wait4 and (found := call_function(_wait4, (pid, _status, flag, _usage))) >= 0:
        if found == 0:
            return None
        seconds = _usage[0] + _usage[2] + (_usage[1] + _usage[3]) / 1_000_000
        return _status[0], seconds, _usage[4] * 1024
    found, status, usage = os.wait4(pid, flag)
    return (status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024) if found else None


def soft_limit(pid: int, which: int) -> int:
    """The soft limit of a process for the resource `which`, also of one that has ended; -1 for none.

    Raises OSError if it cannot be seen.
    """
    if not _prlimit:
        return resource.prlimit(pid, which)[0]
    # struct rlimit are two numbers of the same size, too: the soft and the hard limit. They have memory of
    # their own: the runs of a program that embeds mprun may ask in several threads.
    limits = _Usage()
    if call_function(_prlimit, (pid, which, None, limits)) != 0:
        raise OSError
    return int(limits[0])

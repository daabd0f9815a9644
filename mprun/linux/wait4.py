"""wait4(2): how a child ended and what it used, in one call.

`os.wait4` looks up a module and makes sixteen numbers of what it is told, of which three are
wanted. In a launcher that has just forked each of these steps is the copy of a page: together
they cost a twentieth of a short task (`python benchmarks/fork_cost.py`).
"""

from __future__ import annotations

import os
import sys

# As in `typing`, which takes longer to import than all else that a launcher needs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# The newest Python on which the private names of `_ctypes` were tried.
TRIED_PYTHON = (3, 15)
_wait4 = 0
# On other platforms than Linux with 64 bits struct rusage has another layout.
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
        """struct rusage, getrusage(2): two times of seconds and microseconds, then KiB, then more."""

        _type_, _length_ = _Long, 18

    _status: Any = _Status()
    _usage: Any = _Usage()
    _wait4 = _ctypes.dlsym(_ctypes.dlopen(None, 0), "wait4")  # type: ignore[arg-type]  # None: this program
else:
    # `os.wait4` imports it after it has reaped: by then there may be no descriptor for that.
    import resource  # noqa: F401


def wait(pid: int, flag: int = os.WNOHANG) -> tuple[int, float, int] | None:
    """The raw status of a child, its CPU time in seconds and its peak of memory in bytes.

    None with WNOHANG where it has not ended. Raises ChildProcessError where it is no child
    of this process, or was reaped.
    """
    if _wait4 and (found := call_function(_wait4, (pid, _status, flag, _usage))) >= 0:
        if found == 0:
            return None
        seconds = _usage[0] + _usage[2] + (_usage[1] + _usage[3]) / 1_000_000
        return _status[0], seconds, _usage[4] * 1024
    found, status, usage = os.wait4(pid, flag)
    return (status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024) if found else None

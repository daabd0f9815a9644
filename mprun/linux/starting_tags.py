"""Tags a process before its pid is known, and after that: see `mprun.linux.run_tags`."""

from __future__ import annotations

import _ctypes
import sys
from _ctypes import call_function

from mprun.linux.run_tags import PID_BITS, RLIMIT_RTTIME, TAG
from mprun.linux.wait4 import soft_limit

# No pid has this bit (PID_MAX_LIMIT of Linux). With it, the lower ones are a number in place of the pid.
UNKNOWN = 1 << 22

_prlimit = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prlimit")  # type: ignore[arg-type]  # None: this program


def set_tag(pid: int, tag: int) -> bool:
    """Tag a process, 0 for this one, whose limit is without end otherwise; whether that was possible."""
    # struct rlimit on 64-bit Linux: the soft and the hard limit.
    limit = tag.to_bytes(8, sys.byteorder) + b"\xff" * 8
    return bool(call_function(_prlimit, (pid, RLIMIT_RTTIME, limit, None)) == 0)


def is_starting(pid: int, tag: int) -> bool:
    """Whether a process has the tag of this run, and a number in place of the pid."""
    try:
        limit = soft_limit(pid, RLIMIT_RTTIME)
    except OSError:
        # It is gone, or has changed its user.
        return False
    return TAG <= limit < 2 * TAG and limit >> PID_BITS == tag >> PID_BITS and bool(limit & UNKNOWN)

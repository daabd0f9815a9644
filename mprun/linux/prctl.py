"""prctl(2): the signal at the parent's death, whose children orphans become, and a process's name.

The functions do nothing on systems without prctl. The worker makes these calls by itself: a spawned
child imports no other module of mprun.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
SIGKILL = 9

# The name of the process that saves the output of commands if the launcher is killed. No task has it:
# theirs begin with `mprun: `.
KEEPER_NAME = "mprun-output"

# The newest Python on which the private names of `_ctypes` were tried.
TRIED_PYTHON = (3, 15)


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies."""
    _call(PR_SET_PDEATHSIG, number)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent dies; exit now if it has died already. `parent` is its pid."""
    _call(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def set_name(name: str) -> None:
    """Name this process for `ps -o comm`, `top` and `pgrep`; the kernel keeps 15 bytes."""
    _call(PR_SET_NAME, name.encode())


def set_child_subreaper(enabled: bool) -> None:
    """Make orphaned descendants the children of this process, or not any more."""
    _call(PR_SET_CHILD_SUBREAPER, int(enabled))


def is_child_subreaper() -> bool:
    """Whether orphaned descendants become children of this process."""
    # Only a program that runs a job itself comes here.
    import ctypes

    found = ctypes.c_int()
    _call(PR_GET_CHILD_SUBREAPER, ctypes.byref(found))
    return bool(found.value)


def _call(option: int, argument: Any) -> None:
    if sys.platform != "linux":
        return
    if sys.version_info[:2] <= TRIED_PYTHON:
        # `ctypes`, which uses it, takes 6 ms to import; this takes half a millisecond.
        import _ctypes

        function = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None: this program
        _ctypes.call_function(function, (option, argument, 0, 0, 0))
    else:
        import ctypes

        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)

"""Seccomp filters for tests: system calls that the kernel refuses to a process and to all that it starts.

A filter cannot be taken back, so it is installed in a process between fork and exec: pass `refusing(...)` as
`preexec_fn`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# From <linux/audit.h> and the tables of system calls; pidfds have the same numbers everywhere.
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {"pidfd_send_signal": 424, "pidfd_open": 434}
_OTHERS = {
    "x86_64": {"prlimit64": 302, "sched_getaffinity": 204},
    "aarch64": {"prlimit64": 261, "sched_getaffinity": 123},
}

# From <linux/prctl.h>, <linux/seccomp.h> and <linux/filter.h>.
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4


def is_supported():
    """Whether this system is one for which `refusing` has the numbers."""
    return sys.platform == "linux" and platform.machine() in _ARCHITECTURES


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refusing(*names, error=errno.EPERM):
    """A function that has the kernel refuse these system calls to the calling process with an error."""
    code = struct.pack("HBBI", _LOAD, 0, 0, _OFFSET_ARCHITECTURE)
    code += struct.pack("HBBI", _JUMP_EQUAL, 1, 0, _ARCHITECTURES[platform.machine()])
    code += struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)
    code += struct.pack("HBBI", _LOAD, 0, 0, _OFFSET_NUMBER)
    numbers = NUMBERS | _OTHERS[platform.machine()]
    for name in names:
        code += struct.pack("HBBI", _JUMP_EQUAL, 0, 1, numbers[name])
        code += struct.pack("HBBI", _RETURN, 0, 0, _ERRNO | error)
    code += struct.pack("HBBI", _RETURN, 0, 0, _ALLOW)
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def install():
        for arguments in (
            (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
        ):
            if prctl(*arguments):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return install

"""Runs a command with a FUSE file system that stops answering: python silent_mount.py DIRECTORY COMMAND...

The file system is mounted at a directory, in a mount namespace of this process. It has one file, `program`,
which is a copy of /bin/true. Once DIRECTORY.silence exists it answers nothing more, and makes
DIRECTORY.silent to say so. At the end of this process all that wait for it get an error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from select import select

# The exit code if nothing can be mounted here.
NOT_POSSIBLE = 77
CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
# <linux/fuse.h>
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, BATCH_FORGET = 1, 2, 3, 14, 15, 18, 25, 26, 42
ROOT, PROGRAM = 1, 2
MODES = {ROOT: 0o40755, PROGRAM: 0o100755}


def mount(directory):
    """The descriptor of the requests of the file system."""
    libc = ctypes.CDLL(None, use_errno=True)
    requests = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={requests},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    for failed in (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(b"silent", os.fsencode(directory), b"fuse", 0, options.encode()),
    ):
        if failed():
            raise OSError(ctypes.get_errno(), "mount")
    return requests


def attributes(node, body):
    size = len(body) if node == PROGRAM else 0
    return struct.pack("<6Q10I", node, size, 0, 0, 0, 0, 0, 0, 0, MODES[node], 1, 0, 0, 0, 4096, 0)


def answer(kind, node, details, body):
    """What is answered to a request; an error's number if it is refused."""
    if kind == INIT:
        return struct.pack("<4I2H2I2H7I", 7, 31, 0, 0, 12, 10, 1 << 17, 1, 1, 0, *[0] * 7)
    if kind == GETATTR:
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node, body)
    if kind == LOOKUP:
        if details != b"program\0":
            return errno.ENOENT
        return struct.pack("<4Q2I", PROGRAM, 0, 0, 0, 0, 0) + attributes(PROGRAM, body)
    if kind == OPEN:
        return struct.pack("<Q2I", 1, 0, 0)
    if kind == READ:
        _, begin, size = struct.unpack_from("<2QI", details)
        return body[begin : begin + size]
    return b"" if kind in (FLUSH, RELEASE) else errno.ENOSYS


def serve(requests, directory):
    body = Path("/bin/true").read_bytes()
    while not os.path.exists(f"{directory}.silence"):
        if not select([requests], [], [], 0.01)[0]:
            continue
        data = os.read(requests, 1 << 18)
        _, kind, number, node = struct.unpack_from("<2I2Q", data)
        if kind in (FORGET, BATCH_FORGET):
            continue
        found = answer(kind, node, data[40:], body)
        error, found = (found, b"") if isinstance(found, int) else (0, found)
        os.write(requests, struct.pack("<IiQ", 16 + len(found), -error, number) + found)
    # Who waits now can be killed, because the request was not read.
    Path(f"{directory}.silent").touch()


def main():
    directory, *command = sys.argv[1:]
    try:
        requests = mount(directory)
    except OSError:
        sys.exit(NOT_POSSIBLE)
    threading.Thread(target=serve, args=(requests, directory), daemon=True).start()
    os._exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()

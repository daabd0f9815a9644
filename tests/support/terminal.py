"""Runs the command on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from support.runs import TIMEOUT, environment


def on_terminal(*arguments, cwd, columns=100, **env):
    """Run `mprun ARGUMENTS` on a terminal of this width; its exit code and its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mprun", *arguments],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(**{"TERM": "xterm-256color", **env}),
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()
    # Reading fails with EIO once the last process that has the terminal open has ended.
    with contextlib.suppress(OSError):
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    return process.wait(TIMEOUT), shown.decode().replace("\r\n", "\n")

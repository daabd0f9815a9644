"""Starts mprun as another user, which only root can."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from support.runs import environment

# As another user with the right to read all files: Python itself may be in root's home.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


def can_be_nobody():
    with contextlib.suppress(OSError):
        return subprocess.run([*AS_NOBODY, "true"], capture_output=True, check=False).returncode == 0
    return False


def start_as_nobody(*arguments, cwd, env=None):
    return subprocess.Popen(
        [*AS_NOBODY, sys.executable, "-m", "mprun", *arguments],
        cwd=cwd,
        env=environment(**(env or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

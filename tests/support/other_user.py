"""Starts mprun as another user, which only root can."""

from __future__ import annotations

import contextlib
import subprocess
import sys

from support.runs import environment

OTHER_USER = 65534
# As another user with the right to read all files: Python itself may be in root's home.
AS_NOBODY = (
    *("setpriv", f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups"),
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

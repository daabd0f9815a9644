"""Starts a launcher as a new Python; the command forks one before it reads its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from socket import socketpair

from mprun.executors.local import LocalExecutor
from mprun.executors.subreaper import Subreaper
from mprun.jobfile.model import PARAM_VARIABLE


def start_launcher(run_id: str = "") -> LocalExecutor:
    """Start a launcher as a new Python: for programs that have threads, or are too large to fork.

    If a `run_id` is given, it is in the environment of the launcher and its descendants from
    the beginning.
    """
    ours, theirs = socketpair()
    descriptor = theirs.fileno()
    # What is in the working directory comes last: it has no module of Python's or ours.
    command = (
        "import sys; sys.path.append(sys.path.pop(0)); "
        f"from mprun.launcher.main import launch; launch({descriptor})"
    )
    # It would take out the variables that set params, but not from what /proc shows.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(PARAM_VARIABLE)}
    environment = {**inherited, **({"MPRUN_RUN_ID": run_id} if run_id else {})}
    # This object must not wait for it: the executor reaps it by its pid.
    process = subprocess.Popen([sys.executable, "-c", command], pass_fds=(descriptor,), env=environment)
    theirs.close()
    process.returncode = 0
    return LocalExecutor(process.pid, ours, Subreaper(process.pid, run_id))

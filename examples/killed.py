"""A task that kills itself after its first step."""

from __future__ import annotations

import os
import signal


def kill_itself() -> None:
    print("first step")
    os.kill(os.getpid(), signal.SIGKILL)
    print("second step, which never runs")

"""A task without an end of its own: make it a daemon, or stop it."""

from __future__ import annotations

import time
from typing import NoReturn


def beat(pause: float = 0.5) -> NoReturn:
    while True:
        print("tick")
        time.sleep(pause)
        print("tock")
        time.sleep(pause)

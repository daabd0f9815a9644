"""A task that would run for ever: it has to be a daemon, or to be stopped."""

from __future__ import annotations

import time
from typing import NoReturn


def beat(pause: float = 0.5) -> NoReturn:
    while True:
        print("tick")
        time.sleep(pause)
        print("tock")
        time.sleep(pause)

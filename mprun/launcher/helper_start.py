"""Starts multiprocessing's own helpers of all tasks, again and again where the machine lacks processes."""

from __future__ import annotations

import os
from time import monotonic

from mprun.launcher.start_backoff import FIRST_DELAY, GIVE_UP_SECONDS, MAX_DELAY, RETRIED_ERRORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start_helper(start: Callable[[], None], pause: Callable[[float], None]) -> None:
    """Call `start`, and try again for GIVE_UP_SECONDS; then end this process, and say why.

    Raises OSError for any other reason than a lack of resources.
    """
    give_up, delay = monotonic() + GIVE_UP_SECONDS, FIRST_DELAY
    while True:
        try:
            return start()
        except OSError as error:
            if error.errno not in RETRIED_ERRORS:
                raise
            if monotonic() > give_up:
                os.write(2, f"error: cannot start multiprocessing's helpers: {error.strerror}\n".encode())
                os._exit(1)
        pause(delay)
        delay = min(2 * delay, MAX_DELAY)

"""Two tasks that sleep: one for a moment, one until it is ended."""

import time


def nap() -> None:
    """Sleep long enough to find the processes to measure."""
    time.sleep(0.3)


def sleep() -> None:
    """Sleep until the end of the run."""
    time.sleep(600)

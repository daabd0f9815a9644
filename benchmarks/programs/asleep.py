"""The tasks that sleep: one until it was looked at, one until it is ended."""

import time


def nap() -> None:
    """Sleep for as long as it takes to find the processes that are measured."""
    time.sleep(0.3)


def sleep() -> None:
    """Sleep until the end of the run."""
    time.sleep(600)

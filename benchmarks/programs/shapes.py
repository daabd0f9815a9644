"""Tasks that compute for a while and return a kilobyte, and the one that takes all these results."""

import time

# The CPU time of a task, in seconds, and the length of its result.
WORK = 0.05
LENGTH = 1024


def compute(number: int) -> str:
    """Compute, and return a text."""
    while time.process_time() < WORK:
        pass
    return f"{number:{LENGTH}}"


def total(texts: list[str]) -> None:
    """Take the results, and see that they are all there."""
    assert [int(text) for text in texts] == list(range(len(texts)))
    assert {len(text) for text in texts} == {LENGTH}

"""Tasks that fail, hang or come back, for the recipes about what happens then."""

import os
import sys
import time


def fail_until(attempt: int) -> int:
    """Raise before this attempt, return its number from then on."""
    now = int(os.environ["MPRUN_ATTEMPT"])
    print(f"attempt {now}")
    if now < attempt:
        raise ConnectionRefusedError("nobody answers yet")
    return now


def hang() -> None:
    """Sleep in a function of a name that a stack shows."""
    print("hanging")
    sleep_for_ever()


def sleep_for_ever() -> None:
    """What a hung task is found in."""
    while True:
        time.sleep(60)


def leave(code: int) -> None:
    """End the process with this exit code."""
    print(f"leaving with {code}")
    sys.exit(code)


def measure() -> dict[str, int]:
    """Return what a smoke run asserts."""
    print("3 rows")
    return {"rows": 3}


def note(text: str) -> str:
    """Say that this task was started, and why."""
    print(text)
    return text

"""Tasks that fail, hang or recover, for the recipes on failures."""

import os
import sys
import time


def fail_until(attempt: int) -> int:
    """Raise before this attempt; from then on, return the attempt number."""
    now = int(os.environ["MPRUN_ATTEMPT"])
    print(f"attempt {now}")
    if now < attempt:
        raise ConnectionRefusedError("no answer yet")
    return now


def hang() -> None:
    """Sleep in a function whose name shows in the stack."""
    print("hanging")
    sleep_forever()


def sleep_forever() -> None:
    """The function in which a hung task is found."""
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
    """Print that this task was started, and why."""
    print(text)
    return text

"""The words for how a task and a run can end, and the exit codes that follow."""

from __future__ import annotations

SUCCEEDED = "succeeded"
FAILED = "failed"
TIMED_OUT = "timed-out"
STOPPED = "stopped"
SKIPPED = "skipped"
CANCELLED = "cancelled"
UNKNOWN = "unknown"
INTERRUPTED = "interrupted"

# What a run, or a task, has come to that has no outcome yet.
RUNNING = "running"
# Of a run: its record cannot be read.
DAMAGED = "damaged"

# In the order in which a summary names them.
OUTCOMES = (SUCCEEDED, FAILED, TIMED_OUT, STOPPED, SKIPPED, CANCELLED, UNKNOWN)

# What makes a run fail, unless it is allowed.
BAD = (FAILED, TIMED_OUT, UNKNOWN)

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 3
EXIT_NOTHING_SELECTED = 4


def exit_words(exit_code: int | None, signal: str | None, core_dumped: bool = False) -> str:
    """How a process ended, in words: `exit 3`, `killed by SIGSEGV (core dumped)`."""
    if exit_code is None:
        return "nobody saw its end"
    if signal is None:
        return f"exit {exit_code}"
    return f"killed by {signal}{' (core dumped)' if core_dumped else ''}"

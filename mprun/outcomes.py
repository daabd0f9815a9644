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


def attempt_succeeded(
    exit_code: int | None, *, asked: bool = False, seconds: float = 0.0, timeout: float | None = None
) -> bool:
    """Whether the way in which an attempt ended proves that it succeeded.

    It does if the exit code is 0, no signal asked the attempt to end (`asked`), and it ran for less
    than `timeout` seconds, if there is a timeout. The launcher starts dependents by this rule
    before the engine hears of the exit; `mprun.scheduling.termination` says for which tasks it is enough.
    """
    return exit_code == 0 and not asked and (timeout is None or seconds < timeout)


def exit_words(exit_code: int | None, signal: str | None, core_dumped: bool = False) -> str:
    """How a process ended, in words: `exit 3`, `killed by SIGSEGV (core dumped)`."""
    if exit_code is None:
        return "nobody saw its end"
    if signal is None:
        return f"exit {exit_code}"
    return f"killed by {signal}{' (core dumped)' if core_dumped else ''}"

"""How a task and a run can end, and the exit codes that follow."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a task or a run ended; the last four are a run's, or say that there is no outcome yet.

    A summary lists them in this order.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    # The run was ended by a signal, or mprun itself was killed.
    INTERRUPTED = "interrupted"
    # The task or the run has not ended.
    RUNNING = "running"
    # The record of the run cannot be read.
    CORRUPT = "corrupt"
    # A newer mprun wrote it, in a format that this one does not know.
    NEWER = "newer"


TASK_OUTCOMES = (
    Outcome.SUCCEEDED,
    Outcome.FAILED,
    Outcome.TIMED_OUT,
    Outcome.STOPPED,
    Outcome.SKIPPED,
    Outcome.CANCELLED,
    Outcome.UNKNOWN,
)

# Why the exit code of a run, or of a task of it, is unknown.
MPRUN_KILLED = "mprun itself was killed"

# A task with one of these fails the run, unless `allow_failure` is set.
BAD = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.UNKNOWN)

EXIT_SUCCEEDED = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 3
EXIT_NOTHING_SELECTED = 4
# A closed pipe ends a command as SIGPIPE, 13, would; click's own code for it, 1, means a failed task.
EXIT_CLOSED_PIPE = 128 + 13


def format_exit(exit_code: int | None, signal: str | None, core_dumped: bool = False) -> str:
    """How a process ended, in words: `exit 3`, `killed by SIGSEGV (core dumped)`.

    `exit_code` is None if the exit status of the process is unknown.
    """
    if exit_code is None:
        return "exit status unknown"
    if signal is None:
        return f"exit {exit_code}"
    return f"killed by {signal}{' (core dumped)' if core_dumped else ''}"


# Why a task was stopped or a run ended, where the record has a name for it.
_REASONS = {
    "fail_fast": "fail-fast: another task failed",
    "internal_error": "internal error of mprun",
    "flaky": "flaky, which fails the run",
    "host_lost": "its host was lost",
    "late_answer": "late answer",
    "log_limit": "log limit",
    "not_ready": "not ready in time",
    "recipe_failed": "another task of its recipe failed",
    "recipe_timeout": "timeout of its recipe",
    "record_write_failed": "the record could not be written",
    "run_finished": "end of the run",
    "run_timeout": "timeout of the run",
    "timeout": "timeout",
    "user": "stopped by user",
}


def format_reason(recorded: str) -> str:
    """A reason from the record in words; a reason without an entry here is in words already."""
    return _REASONS.get(recorded, recorded)

"""The kinds of error that mprun raises, each with the exit code of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import EXIT_INTERNAL, EXIT_NOTHING_SELECTED, EXIT_USAGE

if TYPE_CHECKING:
    from typing import Any

    from mprun.diagnostics import Diagnostic

# More tasks would not fit into the memory of a small machine.
MAX_TASKS = 250_000


class MprunError(Exception):
    """The base of all errors; the message says where, what is wrong, and what to do.

    `output` is what the modules of the targets printed while they were imported.
    """

    exit_code = EXIT_INTERNAL
    output = b""


class UsageError(MprunError):
    """A command, an option or a job file is wrong; nothing was started."""

    exit_code = EXIT_USAGE


class JobFileError(UsageError):
    """A job file is wrong; `diagnostics` has everything that one stage found, sorted by position."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = sorted(diagnostics, key=lambda diagnostic: diagnostic.sort_key())
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


class TooManyTasks(Exception):
    """The job has more tasks than a run can have."""

    def __init__(self, count: int | str) -> None:
        if not isinstance(count, str):
            # The digits of a larger number would say nothing.
            many = f"{count:,}" if count < 10**12 else f"over {10**12:,}"
            count = f"too many tasks: {many} (limit: {MAX_TASKS:,})"
        super().__init__(count)


def refuse_too_many(count: int) -> None:
    """Raise TooManyTasks if a run cannot have so many tasks."""
    if count > MAX_TASKS:
        raise TooManyTasks(count)


class OutOfBudget(Exception):
    """Reading a job would take more time or memory than it may; `diagnostic` says where that is."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(str(diagnostic))


class NothingSelected(MprunError):
    """No task matches the names and tags that were selected."""

    exit_code = EXIT_NOTHING_SELECTED


class LauncherError(MprunError):
    """The launcher could not be started, or ended before any task was started."""


class RecordError(MprunError):
    """The record of a run cannot be written, or not be read."""


class RecordRemoved(RecordError):
    """The record of a run was removed, replaced or shortened while it was written: no one can read it."""


class UnreadableRecord(RecordError):
    """The record of a run cannot be read; with `newer`, because a newer mprun wrote it."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, newer: bool = False) -> None:
        self.newer = newer
        super().__init__(message)


class UnknownTask(MprunError, KeyError):
    """A run has no task of the name that its result was asked for."""

    # A KeyError's own shows the message as a literal, in quotes.
    __str__ = Exception.__str__


class RunFailed(MprunError):
    """A run did not succeed; `run` is its RunResult, `failures` are those of the tasks that failed it."""

    def __init__(self, message: str, *, run: Any, failures: tuple[Any, ...]) -> None:
        self.run = run
        self.failures = failures
        self.exit_code = run.exit_code
        super().__init__(message)

"""Why a task's process runs nothing: a limit that cannot be set, a command that cannot be executed."""

from __future__ import annotations


class StartError(Exception):
    """Raised before anything is run: why, in words, and the exit code that follows.

    `cause` is the exception that the record names in its place, None where it names this.
    """

    def __init__(self, message: str, exit_code: int = 1, cause: Exception | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.cause = cause

"""The error of a task's process that cannot run its target or command."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Takes secrets out of a message, if the job has any.
redact: Callable[[str], str] | None = None


def hide(secrets: Iterable[str]) -> None:
    """Keep secrets out of what mprun itself writes to a task's log, in this process and its forks."""
    global redact
    from mprun.diagnostics import redact, remember_secret

    remember_secret(list(secrets))


class StartError(Exception):
    """A limit that cannot be set, or a command that cannot be executed; nothing of the task has run.

    The process ends with `exit_code`. The record names `cause` as the error; None means
    this exception itself.
    """

    def __init__(self, message: str, exit_code: int = 1, cause: Exception | None = None) -> None:
        super().__init__(redact(message) if redact else message)
        self.exit_code = exit_code
        self.cause = cause

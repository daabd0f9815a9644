"""The few kinds of error that mprun raises, each with the exit code it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mprun.diagnostics import Diagnostic


class MprunError(Exception):
    """The base of all: a message that names the place, the thing and the remedy.

    `output` is what the targets' modules had printed by then, where they were imported.
    """

    exit_code = 3
    output = b""


class UsageError(MprunError):
    """What was asked for cannot be done; nothing was started."""

    exit_code = 2


class JobFileError(UsageError):
    """A job file is wrong; `diagnostics` has everything that one stage found, sorted by position."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = sorted(diagnostics, key=lambda diagnostic: diagnostic.sort_key())
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))


class NothingSelected(MprunError):
    """No task has a name or a tag that was asked for."""

    exit_code = 4


class LauncherError(MprunError):
    """The launcher could not be started, or was lost."""


class RecordError(MprunError):
    """A run's record cannot be written or read."""

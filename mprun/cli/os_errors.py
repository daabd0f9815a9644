"""An error of the system that ends a command: what is said of it, and the exit code."""

from __future__ import annotations

import errno
import sys

from mprun.cli.messages import say
from mprun.diagnostics import quote
from mprun.engine.directories import require_working_directory
from mprun.errors import UsageError
from mprun.outcomes import EXIT_INTERNAL


def explain_os_error(error: OSError) -> int:
    """Print what has failed on stderr; the exit code of the command."""
    try:
        if not _has_run_a_job():
            require_working_directory()
    except UsageError as lost:
        say("error", str(lost))
        return lost.exit_code
    say("error", f"{_failed_operation(error)}: {error.strerror}")
    return EXIT_INTERNAL


def _has_run_a_job() -> bool:
    # Only a run has one.
    outlet = sys.modules.get("mprun.reporters.outlet")
    return outlet is not None and bool(outlet.display.directory)


def _failed_operation(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        # From a write to a full disk, such as `mprun show > FILE`.
        return "cannot write the output"
    return "I/O error" if error.filename is None else f"I/O error on {quote(str(error.filename))}"

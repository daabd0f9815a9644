"""Reads a job file from standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mprun.errors import UsageError
from mprun.jobfile.syntax.document import MAX_BYTES, STANDARD_INPUT, parse

if TYPE_CHECKING:
    from mprun.jobfile.syntax.document import Document


def load_standard_input() -> Document:
    """Read and parse a job file from standard input, which messages call `<stdin>`.

    Raises what `load` does.
    """
    try:
        # Never all of it: it may have no end.
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read standard input: {reason}") from error
    return parse(data, STANDARD_INPUT)

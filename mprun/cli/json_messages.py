"""Errors, warnings and notes of commands as JSON, for `--json`: one object per line, on stderr.

`schemas/error.schema.json` describes them.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact
from mprun.errors import JobFileError
from mprun.reporters.door import write_json
from mprun.reporters.terminal import silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.diagnostics import Diagnostic
    from mprun.errors import MprunError


def of_error(error: MprunError) -> Iterator[dict[str, Any]]:
    """An object for an error, or one for each diagnostic of a job file."""
    more = {"output": error.output.decode("utf-8", "backslashreplace")} if error.output else {}
    if isinstance(error, JobFileError):
        for diagnostic in error.diagnostics:
            yield {**of_text("error", diagnostic.message, diagnostic), **more}
            more = {}
    else:
        yield {**of_text("error", str(error)), **more}


def of_text(kind: str, text: str, at: Diagnostic | None = None) -> dict[str, Any]:
    """An object for an `error` or a `warning`, with its place in a file if it has one."""
    return {
        kind: redact(text),
        "file": redact(at.source.path) if at else None,
        "line": at.span.line if at else None,
        "column": at.span.column if at else None,
        "hint": (redact(at.help) or None) if at else None,
    }


def write(value: dict[str, Any]) -> None:
    """Write an object as a line on stderr; a failure to write it is ignored, as of every message."""
    try:
        write_json(sys.stderr, json.dumps(value, ensure_ascii=False))
    except (OSError, ValueError):
        silence(sys.stderr)

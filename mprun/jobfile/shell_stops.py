"""Finds commands in a string whose program would not get the stop signal: `stop.to` is `process`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import Diagnostic, quote
from mprun.jobfile.syntax.composer import span_of_mark
from mprun.jobfile.syntax.document import Mapping

if TYPE_CHECKING:
    from mprun.jobfile.syntax.document import Document

# A script with one of these words decides itself who gets the signal.
_DECIDES = re.compile(r"\b(exec|trap)\b")


def shell_stops(document: Document) -> list[Diagnostic]:
    """A warning for each such task of a document that conforms to the schema, in the order of the file."""
    root: Any = document.root
    found = []
    defaults = root.get("defaults") or {}
    for number, task in enumerate(root["tasks"], 1):
        command = task.get("command", defaults.get("command") if not _has_own(task) else None)
        if not isinstance(command, str) or _DECIDES.search(command):
            continue
        place = task if "stop" in task else defaults
        stop = place.get("stop")
        if isinstance(stop, Mapping) and stop.get("to") == "process":
            span = span_of_mark(document.source, stop.marks_of("to")[1])
            name = quote(str(task.get("name", f"Process-{number}")))
            message = f"the stop signal of {name} goes to its shell alone, not to the program in it"
            help = "begin the command with `exec`, or write it as a list"
            found.append(Diagnostic(message=message, source=document.source, span=span, help=help))
    return found


def _has_own(task: Any) -> bool:
    return "target" in task or "uses" in task

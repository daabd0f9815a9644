"""W3C trace context: the parent that TRACEPARENT names, and the ids of a run's spans.

The ids are hashes of the run's id, so a run has the same whenever it is exported, and a task can be told
the id of its span before it starts. https://www.w3.org/TR/trace-context-1/
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mprun.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEX = frozenset("0123456789abcdef")
# A longer `tracestate` is dropped: 512 characters must be passed on, and more need not be.
_MAX_STATE = 512


class TraceParent(Frozen):
    """The span that a run is part of: ids in hexadecimal, the flags, and what vendors add (`tracestate`)."""

    trace_id: str
    span_id: str
    flags: str = "01"
    state: str = ""

    def to_text(self) -> str:
        """As TRACEPARENT has it."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse_parent(text: str, state: str = "") -> TraceParent | None:
    """The parent in a TRACEPARENT; None if it is invalid: then a new trace begins.

    A newer version may have more after the flags; version `ff` is invalid.
    """
    parts = text.strip().split("-")
    if len(parts) < 4 or (parts[0] == "00" and len(parts) > 4) or parts[0] == "ff":
        return None
    version, trace_id, span_id, flags = parts[:4]
    for part, size in ((version, 2), (trace_id, 32), (span_id, 16), (flags, 2)):
        if len(part) != size or not _HEX.issuperset(part):
            return None
    if set(trace_id) == {"0"} or set(span_id) == {"0"}:
        return None
    is_passed_on = len(state) <= _MAX_STATE and state.isascii() and state.isprintable()
    return TraceParent(
        trace_id=trace_id, span_id=span_id, flags=flags, state=state.strip() if is_passed_on else ""
    )


def parent_in(environment: Mapping[str, str]) -> TraceParent | None:
    """The parent that the variables TRACEPARENT and TRACESTATE name; None if there is none."""
    return parse_parent(environment.get("TRACEPARENT", ""), environment.get("TRACESTATE", ""))


class TraceIds:
    """The ids of a run's spans in hexadecimal; with a parent, they are part of its trace."""

    def __init__(self, run: str, parent: TraceParent | None = None) -> None:
        self.parent = parent
        self.trace_id = parent.trace_id if parent else _digest("trace", run, size=16)
        self._flags = parent.flags if parent else "01"
        self._run = run

    def run(self) -> str:
        """The id of the run's span."""
        return _digest("run", self._run, size=8)

    def attempt(self, task: str, attempt: int) -> str:
        """The id of an attempt's span."""
        return _digest("attempt", self._run, task, str(attempt), size=8)

    def variables(self, task: str, attempt: int) -> dict[str, str]:
        """The variables by which what an attempt traces becomes part of its span."""
        found = {"TRACEPARENT": f"00-{self.trace_id}-{self.attempt(task, attempt)}-{self._flags}"}
        # That of the parent, which the task would inherit, may be one that is not passed on.
        found["TRACESTATE"] = self.parent.state if self.parent else ""
        return found


def _digest(*words: str, size: int) -> str:
    # NUL is in no name of a task and in no id of a run.
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[: 2 * size]

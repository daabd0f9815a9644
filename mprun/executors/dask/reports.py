"""Reports as they travel: the name of the type, and a list of the fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.executors import base

if TYPE_CHECKING:
    from mprun.executors.base import Report

_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        base.Importing,
        base.PrepareReply,
        base.Started,
        base.NotStarted,
        base.StartCancelled,
        base.Suspended,
        base.Exited,
        base.Probed,
        base.ExecutorLost,
    )
}
# The positions of fields that the bridge reads or fills in: of reports about an attempt,
KEY, CLOCK = 0, 1
STARTED_HOST = base.Started._fields.index("host")
DURATION = base.Exited._fields.index("duration")
LOG_ERROR, ARTIFACTS_ERROR = map(base.Exited._fields.index, ("log_error", "artifacts_error"))
# and of requests.
REQUEST_KEY, LOG, AFTER, DAEMON, ARTIFACTS, HOST = map(
    base.StartRequest._fields.index, ("key", "log", "after", "daemon", "artifacts", "host")
)


def pack(report: Report) -> tuple[Any, ...]:
    """A report as a message."""
    fields = list(report.to_tuple())
    if isinstance(report, base.PrepareReply):
        fields[2] = [error.to_tuple() for error in report.errors]
    return ("report", type(report).__name__, fields)


def unpack(kind: str, fields: list[Any]) -> Report:
    """The report that a message is."""
    if kind == "PrepareReply":
        fields[2] = tuple(map(base.BindError.from_tuple, fields[2]))
    report: Report = _TYPES[kind].from_tuple(fields)
    return report

"""What has become of the hosts of a run, in words, from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.outcomes import format_reason
from mprun.reporters.format import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import HostChanged
    from mprun.record.run_state import RunState

# No one would read more: a worker may come and go without end.
MAX_CHANGES = 200


def host_rows(state: RunState) -> Iterator[tuple[str, str, str]]:
    """If anything has become of a host: the time, its name, and what that was; first those of the start."""
    changes, started = state.host_changes, state.started
    if not changes:
        return
    # A hostile record has whatever it likes there.
    listed: Any = started.hosts if started is not None else None
    hosts = [one for one in listed or () if isinstance(one, dict)]
    joined = sum(change.change == "joined" for change in changes)
    for one in hosts[: max(0, len(hosts) - joined)][:MAX_CHANGES]:
        where = _where(one.get("worker"), one.get("slots"))
        yield started.time if started else "", str(one.get("host")), f"there from the start{where}"
    for change in changes[:MAX_CHANGES]:
        yield change.time, str(change.host), host_words(change)
    if (more := len(changes) - MAX_CHANGES) > 0:
        yield "", "…", f"and {plural(more, 'change')} more, in the record"


def host_words(change: HostChanged) -> str:
    """What has become of a host."""
    words = f"{format_reason(str(change.change))}{_where(change.worker, change.slots)}"
    return f"{words}: {change.reason}" if change.reason else words


def _where(worker: object, slots: object) -> str:
    facts = [f"worker {worker}"] if worker else []
    facts += [plural(slots, "slot")] if isinstance(slots, int) else []
    return f" ({', '.join(facts)})" if facts else ""

"""Says why a run failed although no task did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.outcomes import format_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.record.run_state import RunState
    from mprun.scheduling.verdict import TaskEnds, Verdict


def final_reason(ends: TaskEnds, ended: Verdict, state: RunState) -> str:
    """The reason of a run that has `lacking`, `flaky_failing` or `requested` tasks."""
    if ended.lacking:
        return _lacking_reason(ends, ended.lacking, state)
    if ended.flaky_failing:
        return _flaky_reason(ends, ended.flaky_failing)
    return _requested_reason(ends, ended.requested)


def _lacking_reason(ends: TaskEnds, lacking: Sequence[int], state: RunState) -> str:
    """Tasks were skipped that should have run."""
    name = ends.tasks[lacking[0]].name
    finished = state.tasks[name].finished
    why = f"`{name}` was skipped: {format_reason(finished.reason) if finished else ''}"
    more = f", and {len(lacking) - 1} more for such a reason" if len(lacking) > 1 else ""
    return why + more


def _flaky_reason(ends: TaskEnds, flaky: Sequence[int]) -> str:
    """Tasks succeeded only after they were retried."""
    more = f", and {len(flaky) - 1} more" if len(flaky) > 1 else ""
    return f"`{ends.tasks[flaky[0]].name}` was flaky{more}"


def _requested_reason(ends: TaskEnds, requested: Sequence[int]) -> str:
    """Tasks were stopped or cancelled by request."""
    first = requested[0]
    more = f", and {len(requested) - 1} more" if len(requested) > 1 else ""
    return f"`{ends.tasks[first].name}` was {ends.outcomes[first]} by user{more}"

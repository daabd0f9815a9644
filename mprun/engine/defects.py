"""What becomes of a run in which mprun itself raises an exception that nothing expects."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mprun.outcomes import EXIT_INTERNAL, Outcome
from mprun.scheduling.stop_limit import stop_limit_by_name
from mprun.scheduling.verdict import Verdict

if TYPE_CHECKING:
    from mprun.record.run_state import RunState
    from mprun.scheduling.plan import Plan

# After the graces of its tasks a run has so many seconds to end, or everything is killed: what was lost
# with the exception may be what it waits for.
END_SECONDS = 5.0


def seconds_to_end(plan: Plan, state: RunState) -> float:
    """How long a run may take to end in order."""
    running = [task.name for task in state.tasks.values() if task.is_running]
    return stop_limit_by_name(plan, running).seconds + END_SECONDS


def broken_verdict(reason: str, state: RunState) -> Verdict:
    """The verdict if the ordinary one cannot be reached: from what the record has."""
    ended = [task.finished for task in state.tasks.values() if task.finished is not None]
    return Verdict(
        outcome=Outcome.FAILED,
        exit_code=EXIT_INTERNAL,
        reason=reason,
        counts=dict(Counter(finished.outcome for finished in ended)),
        allowed=dict(Counter(finished.outcome for finished in ended if finished.allowed)),
    )

"""What becomes of a run in which mprun itself raises an exception that nothing expects."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mprun.executors.base import Exited, NotStarted, StartCancelled, Started
from mprun.outcomes import EXIT_INTERNAL, Outcome
from mprun.scheduling.instructions import INTERNAL_ERROR, CancelStart, Signal, Start
from mprun.scheduling.stop_limit import stop_limit_by_name
from mprun.scheduling.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mprun.executors.base import Executor, Report
    from mprun.launcher.channel import AttemptKey
    from mprun.record.run_state import RunState
    from mprun.scheduling.instructions import Instruction
    from mprun.scheduling.plan import Plan
    from mprun.scheduling.scheduler import Scheduler

# After the graces of its tasks a run has so many seconds to end, or everything is killed: what was lost
# with the exception may be what it waits for.
END_SECONDS = 5.0

# The reports without which an attempt has no end.
_OF_ATTEMPTS = (Started, NotStarted, StartCancelled, Exited)


def seconds_to_end(plan: Plan, state: RunState) -> float:
    """How long a run may take to end in order."""
    running = [task.name for task in state.tasks.values() if task.is_running]
    return stop_limit_by_name(plan, running).seconds + END_SECONDS


def untracked(lost: Sequence[Report | Instruction]) -> set[AttemptKey]:
    """The attempts of which the scheduler has missed something, by these reports and instructions."""
    starts = {(one.task, one.attempt) for one in lost if isinstance(one, Start)}
    return starts | {one.key for one in lost if isinstance(one, _OF_ATTEMPTS)}


def end_lost(
    lost: Sequence[Report | Instruction], executor: Executor, scheduler: Scheduler, now: float
) -> list[Instruction]:
    """End the attempts of these reports and instructions now: the run would wait for them without end.

    The run ends already. What the scheduler decides is to be carried out, too.
    """
    decided: list[Instruction] = []
    for one in lost:
        if isinstance(one, Signal):
            executor.signal((one.task, one.attempt), "SIGKILL")
        elif isinstance(one, CancelStart):
            executor.cancel((one.task, one.attempt))
        elif isinstance(one, Start):
            decided += scheduler.handle_attempt_lost(one.task, one.attempt, INTERNAL_ERROR, now, began=False)
        elif isinstance(one, _OF_ATTEMPTS):
            executor.signal(one.key, "SIGKILL")
            began = isinstance(one, (Started, Exited)) or getattr(one, "unseen", False)
            decided += scheduler.handle_attempt_lost(*one.key, INTERNAL_ERROR, now, began=began)
    return decided


def broken_verdict(reason: str, state: RunState) -> Verdict:
    """The verdict if the ordinary one cannot be reached: from what the record has."""
    ended = [task.finished for task in state.tasks.values() if task.finished is not None]
    return Verdict(
        outcome=Outcome.FAILED,
        exit_code=EXIT_INTERNAL,
        reason=reason,
        counts=dict(Counter(finished.outcome for finished in ended)),
        allowed=dict(Counter(finished.outcome for finished in ended if finished.allowed)),
        flaky=state.count_flaky(),
    )

"""What the scheduler wants done: imperative verbs about tasks, by their place in the plan."""

from __future__ import annotations

from mprun.frozen import Frozen


class Instruction(Frozen):
    """One thing to do; `task` is a place in the plan, from 0."""

    task: int


class Resolve(Instruction):
    """Look up what this task refers to: its dependencies hold, and results are known.

    Answered at once by `handle_resolved`, `handle_skipped`, `handle_expanded` or `handle_resolve_failed`.
    """


class MarkReady(Instruction):
    """Write down that this attempt is ready."""

    attempt: int


class Start(Instruction):
    """Give this attempt a process, as soon as a place is free.

    Those `after` which it is to start have not ended, each a task, an attempt, and seconds or
    None: it is to start by itself once each has ended with exit code 0, in less than so many
    seconds, and was not asked to; it is withdrawn when one ends otherwise.
    """

    attempt: int
    after: tuple[tuple[int, int, float | None], ...] = ()


class CancelStart(Instruction):
    """Do not start this attempt after all, unless it has been started by now."""

    attempt: int


class Signal(Instruction):
    """Send a signal to a running attempt's group, or SIGKILL to its whole tree.

    With `dump`, the stack of each of its threads goes into its log before.
    """

    attempt: int
    signal: str
    reason: str
    dump: bool = False


class ScheduleRetry(Instruction):
    """Write down that this attempt will follow, `delay` seconds from now.

    `reason` is `retry`, or `restart` of what serves.
    """

    attempt: int
    delay: float
    reason: str


class Finish(Instruction):
    """Write down a task's one outcome."""

    outcome: str
    attempts: int
    reason: str


class Join(Instruction):
    """Collect a finished task; `position` counts the joined ones from 1."""

    position: int
    of: int

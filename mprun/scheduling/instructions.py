"""What the scheduler wants to be done: imperative verbs about tasks, and the reasons for which tasks end."""

from __future__ import annotations

from mprun.frozen import Frozen

# Why one attempt is asked to end.
TIMEOUT = "timeout"
NOT_READY = "not_ready"
LOG_LIMIT = "log_limit"
# Why all tasks of a recipe that is taken as one are asked to end.
RECIPE_TIMEOUT = "recipe_timeout"

# Why the run ends; USER also why one task does.
FAIL_FAST = "fail_fast"
INTERNAL_ERROR = "internal_error"
RECORD_WRITE_FAILED = "record_write_failed"
RUN_FINISHED = "run_finished"
RUN_TIMED_OUT = "run_timeout"
USER = "user"


class Instruction(Frozen):
    """One thing to do; `task` is the number of a task, from 0."""

    task: int


class Resolve(Instruction):
    """Look up what this task refers to: its conditions are met, and results are known.

    The answer is `handle_resolved`, `handle_skipped`, `handle_expanded` or `handle_resolve_failed`,
    at once or, if there are many of them, later.
    """


class Expand(Instruction):
    """Record that the task was expanded to `count` instances, the first of which has the number `first`.

    A large group comes in parts.
    """

    first: int
    count: int


class MarkReady(Instruction):
    """Record that this attempt is ready."""

    attempt: int


class Start(Instruction):
    """Give this attempt a process as soon as there is a free slot.

    With `after` the attempt starts once these attempts have succeeded: each is a task, an attempt,
    and its timeout in seconds or None. Each has to end with exit code 0, within its timeout, and
    without having been asked to end. If one of them does not, the start is cancelled.
    """

    attempt: int
    after: tuple[tuple[int, int, float | None], ...] = ()


class CancelStart(Instruction):
    """Do not start this attempt, unless it has started by now."""

    attempt: int


class Signal(Instruction):
    """Send a signal to a running attempt: `to` its `group` or its `process`, SIGKILL to its whole tree.

    With `dump`, the stacks of its threads are written to its log first.
    """

    attempt: int
    signal: str
    reason: str
    dump: bool = False
    to: str = "group"


class ScheduleRetry(Instruction):
    """Record that this attempt follows in `delay` seconds.

    `reason` is `retry`, `restart` for a daemon, `host_lost`, or `recipe`: all of a recipe runs again.
    """

    attempt: int
    delay: float
    reason: str


class Finish(Instruction):
    """Record the outcome of a task; each task has one.

    `excused` of the attempts say nothing about whether it is flaky, such as those lost with their hosts.
    """

    outcome: str
    attempts: int
    reason: str
    excused: int = 0


class Join(Instruction):
    """Collect a finished task; `position` counts the joined tasks, from 1."""

    position: int
    of: int

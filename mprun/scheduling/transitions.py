"""The table of a task's states: which event may meet a task in which state, and which state follows.

It is the specification: an event that has no row is a bug of the scheduler or of its caller. A
run does not pay for it. `CheckedScheduler` looks up each event, for the tests; docs/architecture.md
prints the table.
"""

from __future__ import annotations

from mprun.scheduling.task_run import (
    EXPANDED,
    FINISHED,
    HELD,
    PAUSED,
    READY,
    RESOLVING,
    RUNNING,
    SETTLED,
    STARTING,
    WAITING,
    TaskState,
)

# State, event, and the state that follows. An event is the method of `TaskRun` of that name.
TRANSITIONS: dict[tuple[TaskState, str], TaskState] = {
    # Before the first attempt.
    (WAITING, "reuse"): WAITING,
    (WAITING, "add_conditions"): WAITING,
    (WAITING, "meet_condition"): WAITING,
    (WAITING, "begin_resolving"): RESOLVING,
    (WAITING, "become_ready"): READY,
    (WAITING, "hold"): HELD,
    (WAITING, "finish"): FINISHED,
    (RESOLVING, "accept_answer"): RESOLVING,
    (RESOLVING, "become_ready"): READY,
    (RESOLVING, "reuse"): RESOLVING,
    (RESOLVING, "expand"): EXPANDED,
    (RESOLVING, "finish"): FINISHED,
    (READY, "dispatch"): STARTING,
    (READY, "finish"): FINISHED,
    # An attempt that has no process yet.
    (HELD, "meet_condition"): HELD,
    (HELD, "fail_condition"): HELD,
    (HELD, "release_hold"): STARTING,
    (HELD, "ask_to_end"): HELD,
    (HELD, "cancel_attempt"): HELD,
    (HELD, "lose_attempt"): HELD,
    (HELD, "wait"): WAITING,
    (HELD, "finish"): FINISHED,
    (STARTING, "start"): RUNNING,
    (STARTING, "ask_to_end"): STARTING,
    (STARTING, "cancel_attempt"): STARTING,
    (STARTING, "become_ready"): READY,
    (STARTING, "end_attempt"): STARTING,
    (STARTING, "lose_attempt"): STARTING,
    (STARTING, "pause"): PAUSED,
    (STARTING, "finish"): FINISHED,
    # A running attempt.
    (RUNNING, "accept_readiness"): RUNNING,
    (RUNNING, "ask_to_end"): RUNNING,
    (RUNNING, "end_attempt"): RUNNING,
    (RUNNING, "lose_attempt"): RUNNING,
    (RUNNING, "pause"): PAUSED,
    (RUNNING, "finish"): FINISHED,
    # Between two attempts.
    (PAUSED, "become_ready"): READY,
    (PAUSED, "finish"): FINISHED,
    # A task of a recipe that is taken as one, until its last round is over.
    (WAITING, "settle"): SETTLED,
    (RESOLVING, "settle"): SETTLED,
    (READY, "settle"): SETTLED,
    (STARTING, "settle"): SETTLED,
    (RUNNING, "settle"): SETTLED,
    (PAUSED, "settle"): SETTLED,
    (STARTING, "end_in_time"): STARTING,
    (RUNNING, "end_in_time"): RUNNING,
    (SETTLED, "begin_round"): WAITING,
    (SETTLED, "retract_start"): SETTLED,
    (SETTLED, "finish"): FINISHED,
    # A user may stop a task at any time.
    (WAITING, "refuse_attempts"): WAITING,
    (RESOLVING, "refuse_attempts"): RESOLVING,
    (READY, "refuse_attempts"): READY,
    (HELD, "refuse_attempts"): HELD,
    (STARTING, "refuse_attempts"): STARTING,
    (RUNNING, "refuse_attempts"): RUNNING,
    (PAUSED, "refuse_attempts"): PAUSED,
    (SETTLED, "refuse_attempts"): SETTLED,
    (FINISHED, "refuse_attempts"): FINISHED,
    (EXPANDED, "refuse_attempts"): EXPANDED,
    # An answer or a probe that comes too late changes nothing.
    (FINISHED, "accept_answer"): FINISHED,
    (SETTLED, "accept_answer"): SETTLED,
    (SETTLED, "accept_readiness"): SETTLED,
    (WAITING, "accept_readiness"): WAITING,
    (READY, "accept_readiness"): READY,
    (STARTING, "accept_readiness"): STARTING,
    (PAUSED, "accept_readiness"): PAUSED,
    (FINISHED, "accept_readiness"): FINISHED,
}

"""Events, and the state of a run after them, for the tests of reporters."""

from mprun.record import events
from mprun.record.run_state import RunState

STAMP = {"time": "2026-01-01T12:00:00Z", "run": "r"}


def started(task):
    return events.TaskStarted(
        **STAMP, task=task, attempt=1, pid=10, ppid=5, start_ticks=1, host="h", daemon=False, target="m:f"
    )


def exited(task, **more):
    facts = {
        "exit_code": 0,
        "signal": None,
        "duration": 1.5,
        "cpu": 0.25,
        "max_rss": 11_000_000,
        "threads": 1,
        "error": None,
        "orphans": (),
    }
    return events.TaskExited(**STAMP, task=task, attempt=1, pid=10, **{**facts, **more})


def finished(task, outcome, reason=""):
    return events.TaskFinished(**STAMP, task=task, outcome=outcome, attempts=1, reason=reason)


def state_of(*happened):
    state = RunState()
    for event in happened:
        state.apply(event)
    return state

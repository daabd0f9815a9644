"""Handmade events, and how to write them to a record."""

from __future__ import annotations

from mprun.record import events

STAMP = {"time": "2026-01-01T12:00:00Z", "run": "r"}


FINISHED = events.TaskFinished(
    **STAMP, task="a", outcome="succeeded", attempts=1, reason="", result={"x": [1]}
)


JOINED = events.TaskJoined(**STAMP, task="a", position=1, of=1)


def started(task, attempt=1, pid=100):
    facts = {"pid": pid, "ppid": 2, "start_ticks": 1, "host": "h", "daemon": False, "target": "m:f"}
    return events.TaskStarted(**STAMP, task=task, attempt=attempt, **facts)


def exited(task, attempt=1):
    facts = {"pid": 100, "exit_code": 0, "signal": None, "duration": 1.0, "cpu": 0.1, "max_rss": 1}
    return events.TaskExited(**STAMP, task=task, attempt=attempt, **facts, threads=1, error=None, orphans=())


def done(task, outcome="succeeded"):
    return FINISHED.replace(task=task, outcome=outcome)


def write(directory, data):
    with open(directory.events, "wb") as file:
        file.write(data)

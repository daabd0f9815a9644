"""Large records for the report: what a run of so many tasks leaves, without running it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from support.records import STAMP, STARTED, ended, exited, record, started

_BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
# So many tasks run at once.
_SLOTS = 8


def _at(seconds):
    return {
        "time": (_BEGIN + timedelta(seconds=seconds))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    }


def large_run(directory, tasks, failing=100, **more):
    """Write the record of a run of so many tasks, of which every `failing`-th fails; returns its id."""
    names = [f"crunch[{number}]" for number in range(tasks)]
    lines = [{**STARTED, "tasks": tasks, **_at(0), **more}]
    for begin in range(0, tasks, 1000):
        part = names[begin : begin + 1000]
        lines.append({"event": "tasks_planned", **STAMP, "group": "", "tasks": part, "items": {}})
    failed = 0
    for number, name in enumerate(names):
        begin, seconds = number // _SLOTS * 0.5, 0.4 + number % 7 * 0.01
        bad = number % failing == failing - 1
        failed += bad
        pid = 1000 + number
        error = (
            {"type": "ValueError", "message": f"no {number}", "traceback": "Traceback ..."} if bad else None
        )
        lines.append({**started(name, pid=pid, target="work:crunch"), **_at(begin)})
        facts = {"exit_code": int(bad), "duration": seconds, "max_rss": 10_000_000 + number, "error": error}
        lines.append({**exited(name, pid=pid, **facts), **_at(begin + seconds)})
        outcome = "failed" if bad else "succeeded"
        reason = "exit 1" if bad else ""
        finished = {
            "outcome": outcome,
            "attempts": 1,
            "reason": reason,
            "result": None,
            "result_kind": "none",
        }
        stamp = {**STAMP, **_at(begin + seconds)}
        lines.append({"event": "task_finished", **stamp, "task": name, **finished, "reused": False})
        lines.append({"event": "task_joined", **stamp, "task": name, "position": number + 1, "of": tasks})
    counts = {"succeeded": tasks - failed} | ({"failed": failed} if failed else {})
    seconds = tasks / _SLOTS * 0.5 + 1
    outcome = "failed" if failed else "succeeded"
    lines.append({**ended(outcome, int(bool(failed)), duration=seconds, counts=counts), **_at(seconds)})
    # As mprun writes them, so that what recognises lines without parsing them does.
    return record(directory, [json.dumps(line, separators=(",", ":")) for line in lines])

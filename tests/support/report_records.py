"""Large records for the report: what a run of so many tasks leaves, without running it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.records import STAMP, STARTED, ended

_BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
# So many tasks run at once.
_SLOTS = 8
# The parts of the lines of a task that are the same for all: to make JSON of each takes too long.
_START = '"attempt":1,"pid":%d,"ppid":2,"start_ticks":1,"host":"h","daemon":false,"target":"work:crunch"}'
_EXIT = '"attempt":1,"pid":%d,"exit_code":%d,"signal":null,"duration":%r,"cpu":0.25,"max_rss":%d,"threads":1,'
_EXIT += '"error":%s,"orphans":[]}'
_ERROR = '{"type":"ValueError","message":"no %d","traceback":"..."}'
_FINISH = '"outcome":"%s","attempts":1,"reason":"%s","result":null,"result_kind":"none","reused":false}'
_JOIN = '"position":%d,"of":%d}'


def _at(seconds):
    time = (_BEGIN + timedelta(seconds=seconds)).isoformat(timespec="microseconds")
    return time.replace("+00:00", "Z")


def _line(event, seconds, name, facts):
    """As mprun writes it, so that what recognises lines without parsing them does."""
    return f'{{"event":"{event}","time":"{_at(seconds)}","run":"{STAMP["run"]}","task":"{name}",{facts}'


def _of_task(number, name, bad, tasks):
    begin, seconds, pid = number // _SLOTS * 0.5, 0.4 + number % 7 * 0.01, 1000 + number
    end = begin + seconds
    error = _ERROR % number if bad else "null"
    yield _line("task_started", begin, name, _START % pid)
    yield _line("task_exited", end, name, _EXIT % (pid, bad, seconds, 10_000_000 + number, error))
    outcome = ("failed", "exit 1") if bad else ("succeeded", "")
    yield _line("task_finished", end, name, _FINISH % outcome)
    yield _line("task_joined", end, name, _JOIN % (number + 1, tasks))


def _lines(tasks, failing):
    names = [f"crunch[{number}]" for number in range(tasks)]
    yield json.dumps({**STARTED, "tasks": tasks, "time": _at(0)})
    for begin in range(0, tasks, 1000):
        part = names[begin : begin + 1000]
        yield json.dumps({"event": "tasks_planned", **STAMP, "group": "", "tasks": part, "items": {}})
    for number, name in enumerate(names):
        yield from _of_task(number, name, number % failing == failing - 1, tasks)
    failed = tasks // failing
    counts = {"succeeded": tasks - failed, "failed": failed}
    seconds = tasks / _SLOTS * 0.5 + 1
    outcome = "failed" if failed else "succeeded"
    facts = ended(
        outcome,
        int(bool(failed)),
        duration=seconds,
        counts={name: number for name, number in counts.items() if number},
    )
    yield json.dumps({**facts, "time": _at(seconds)})


def large_run(directory, tasks, failing=100):
    """Write the record of a run of so many tasks, of which every `failing`-th fails; returns its id."""
    run = Path(directory, ".mprun", "runs", STAMP["run"])
    (run / "logs").mkdir(parents=True)
    with (run / "events.jsonl").open("w") as file:
        file.writelines(f"{line}\n" for line in _lines(tasks, failing))
    return STAMP["run"]

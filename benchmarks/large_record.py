"""The record of a run of many tasks that succeed, written without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mprun.record import events
from mprun.record.line_format import encode

RUN = "20260101-120000.000-0000"
# How many names a line of the plan has, as mprun writes it.
_NAMES_A_LINE = 1000


def write_run(state_dir: Path, tasks: int) -> None:
    """Write the record of a run of so many tasks into a state directory that does not exist yet."""
    directory = state_dir / "runs" / RUN
    directory.mkdir(parents=True, mode=0o700)
    state_dir.chmod(0o700)
    (directory / "logs").mkdir()
    with (directory / "events.jsonl").open("wb") as file:
        names = [f"crunch[{number}]" for number in range(tasks)]
        file.write(encode([_started(tasks)]))
        for begin in range(0, tasks, _NAMES_A_LINE):
            part = tuple(names[begin : begin + _NAMES_A_LINE])
            file.write(encode([events.TasksPlanned(**_stamp(0), group="", tasks=part, items={})]))
        for number, name in enumerate(names):
            file.write(encode(_of_task(number, name, tasks)))
        end: dict[str, Any] = {
            "outcome": "succeeded",
            "exit_code": 0,
            "duration": 9.5,
            "counts": {"succeeded": tasks},
        }
        file.write(encode([events.RunFinished(**_stamp(tasks), **end)]))


def _stamp(number: int) -> dict[str, Any]:
    minute, second = divmod(number // 1000, 60)
    return {"time": f"2026-01-01T12:{minute % 60:02}:{second:02}.{number % 1000:03}000Z", "run": RUN}


def _started(tasks: int) -> events.RunStarted:
    return events.RunStarted(
        **_stamp(0),
        job="large",
        file="/large.yaml",
        cwd="/",
        host="host",
        pid=1,
        main_pid=2,
        cpus=2,
        tasks=tasks,
        at_once=2,
        max_parallel=2,
        mode="parallel",
        start_method="fork",
        boot_id=None,
        python="3.11.7",
        params={},
        options={},
        files=(),
    )


def _of_task(number: int, name: str, tasks: int) -> list[events.Event]:
    stamp, pid = _stamp(number), 1000 + number % 30_000
    return [
        events.TaskStarted(
            **stamp,
            task=name,
            attempt=1,
            pid=pid,
            ppid=2,
            start_ticks=number,
            host="host",
            daemon=False,
            target="noop:noop",
        ),
        events.TaskExited(
            **stamp,
            task=name,
            attempt=1,
            pid=pid,
            exit_code=0,
            signal=None,
            duration=0.001 + number * 1e-7,
            cpu=0.0005 + number % 997 * 1e-6,
            max_rss=10_000_000 + number % 300 * 4096,
            threads=1,
            error=None,
            orphans=(),
        ),
        events.TaskFinished(**stamp, task=name, outcome="succeeded", attempts=1, reason=""),
        events.TaskJoined(**stamp, task=name, position=number + 1, of=tasks),
    ]

"""Writes a run in Chrome's trace event format, which ui.perfetto.dev opens.

A host is a process, a slot is a thread, an attempt is a slice on it. The format:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import heapq
import json
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from mprun.record.events import TaskReady, TaskRetrying, TaskStopping
from mprun.record.found import DURATION, END_TIME, FINISHED
from mprun.record.task_lines import target_of_start
from mprun.reporters.report.report_data import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mprun.record.events import Event, HostChanged
    from mprun.record.task_state import TaskState
    from mprun.reporters.timeline import Attempt, Timeline

# The first bytes of every file, by which one is recognised.
BEGINNING = '{"otherData":{"made by":"mprun"'
# The tracks of a host: that of the main process, those of the slots, and those of services.
MAIN, FIRST_SLOT, FIRST_SERVICE = 0, 1, 100_001
# Counters change at most so often, in microseconds: more could not be seen.
_COUNTER_STEP = 1000


def pieces(timeline: Timeline) -> Iterator[str]:
    """The file, piece by piece."""
    started = timeline.state.started
    other = {"made by": "mprun", "run": shown(started.run) if started else "unknown"}
    yield f'{{"otherData":{_json(other)},"displayTimeUnit":"ms","traceEvents":[\n'
    separator = ""
    for event in _events(timeline):
        yield separator + (event if isinstance(event, str) else _json(event))
        separator = ",\n"
    yield "\n]}\n"


_json = json.JSONEncoder(separators=(",", ":")).encode


def _events(timeline: Timeline) -> Iterator[dict[str, Any] | str]:
    """The events; as JSON what there may be of each task."""
    hosts = {host: number for number, host in enumerate(timeline.hosts(), 1)}
    for host, number in hosts.items():
        yield from _names(timeline, host, number)
    yield _run(timeline)
    for time, task, facts in timeline.joins:
        name = _json(f"join {shown(task)}")
        yield (
            f'{{"ph":"i","s":"t","cat":"join","name":{name},"pid":1,"tid":{MAIN},"ts":{time},'
            f'"args":{{{facts[1:]}}}}}'
        )
    for time, finished in timeline.unstarted:
        about: dict[str, Any] = {"outcome": shown(finished.outcome), "reason": shown(finished.reason)}
        yield _instant(time, f"{about['outcome']} {shown(finished.task)}", "outcome", (1, MAIN), about)
    for time, change in timeline.host_changes:
        track = hosts.get(str(change.host), 1), MAIN
        yield _instant(
            time, f"host {shown(change.host)} {shown(change.change)}", "host", track, _host(change)
        )
    flow = 0
    for attempt in timeline.attempts:
        track = hosts[attempt.host], _track(attempt)
        yield _slice(timeline, attempt, track)
        for time, event in attempt.marks:
            yield _mark(time, event, track)
        for before in timeline.dependencies(attempt):
            flow += 1
            where = hosts[before.host], _track(before)
            # Inside of the slice that it leaves: its end is not part of it.
            yield _arrow(flow, "s", max(before.begin, before.end - 1), where)
            yield {**_arrow(flow, "f", attempt.begin, track), "bp": "e"}
    yield from _counters(timeline)


def _track(attempt: Attempt) -> int:
    is_service = attempt.kept is None and attempt.started.daemon
    return attempt.lane - 1 + (FIRST_SERVICE if is_service else FIRST_SLOT)


def _names(timeline: Timeline, host: str, number: int) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": {"name": shown(host)}}
    tracks = [(MAIN, "main process")] if number == 1 else []
    slots, services = timeline.slots(host, services=False), timeline.slots(host, services=True)
    tracks += [(FIRST_SLOT + lane, f"slot {lane + 1}") for lane in range(slots)]
    tracks += [(FIRST_SERVICE + lane, f"service {lane + 1}") for lane in range(services)]
    for tid, name in tracks:
        yield {"ph": "M", "name": "thread_name", "pid": number, "tid": tid, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": number, "tid": tid, "args": {"sort_index": tid}}


def _run(timeline: Timeline) -> dict[str, Any]:
    started, finished = timeline.state.started, timeline.state.finished
    about: dict[str, Any] = {}
    if started is not None:
        about |= {"run": shown(started.run), "file": shown(started.file, 400), "pid": started.pid}
        about |= {"main_pid": started.main_pid, "max_parallel": started.max_parallel, "cpus": started.cpus}
    if finished is not None:
        about |= {"outcome": shown(finished.outcome), "exit_code": finished.exit_code}
    return {
        **{"ph": "X", "cat": "run", "name": shown(started.job) if started else "run", "pid": 1, "tid": MAIN},
        **{"ts": timeline.begin, "dur": timeline.end - timeline.begin, "args": about},
    }


def _host(change: HostChanged) -> dict[str, Any]:
    about: dict[str, Any] = {"worker": shown(change.worker), "reason": shown(change.reason)}
    about |= {"slots": change.slots, "main_pid": change.main_pid}
    return {name: value for name, value in about.items() if value}


def _slice(timeline: Timeline, attempt: Attempt, track: tuple[int, int]) -> dict[str, Any] | str:
    number = timeline.details.numbers.get(attempt.task)
    tokens = timeline.details.tokens(number) if number is not None else {}
    if attempt.plain is not None and not tokens:
        return _plain_slice(attempt, attempt.plain, track)
    started, exited, finished = attempt.started, attempt.exited, attempt.finished
    about: dict[str, Any] = {
        **{"attempt": started.attempt, "pid": started.pid, "ppid": started.ppid},
        "target": shown(started.target, 300),
    }
    if exited is not None:
        about |= {"exit_code": exited.exit_code, "duration": exited.duration, "cpu": exited.cpu}
        about |= {"max_rss": exited.max_rss, "threads": exited.threads}
        if exited.signal:
            about["signal"] = shown(exited.signal)
        if exited.error:
            about["error"] = shown(f"{exited.error.get('type')}: {exited.error.get('message')}")
        if exited.orphans:
            about["orphans"] = len(exited.orphans)
    if finished is not None:
        about["outcome"] = shown(finished.outcome)
        if finished.reason:
            about["reason"] = shown(finished.reason)
    if tokens:
        about["tokens"] = {shown(name): count for name, count in tokens.items()}
    if started.queued:
        about["queued"] = {shown(key): shown(value) for key, value in started.queued.items()}
    return {
        **{"ph": "X", "cat": "service" if started.daemon else "task", "name": shown(attempt.task)},
        **{"pid": track[0], "tid": track[1], "ts": attempt.begin, "dur": attempt.end - attempt.begin},
        "args": about,
    }


def _plain_slice(attempt: Attempt, task: TaskState, track: tuple[int, int]) -> str:
    """The same of an attempt that just succeeded, as JSON."""
    line, _, pid, ppid = task.start[:END_TIME]
    duration, cpu, max_rss, threads = task.end[DURATION:FINISHED]
    return (
        f'{{"ph":"X","cat":"task","name":{_json(shown(attempt.task))},"pid":{track[0]},"tid":{track[1]},'
        f'"ts":{attempt.begin},"dur":{attempt.end - attempt.begin},"args":{{"attempt":1,"pid":{pid},'
        f'"ppid":{ppid},"target":{_target(target_of_start(line))},"exit_code":0,"duration":{float(duration)},'
        f'"cpu":{cpu if cpu == "null" else float(cpu)},"max_rss":{max_rss},"threads":{threads},'
        f'"outcome":"succeeded"}}}}'
    )


@lru_cache(maxsize=256)
def _target(target: str) -> str:
    return _json(shown(target, 300))


def _mark(time: int, event: Event, track: tuple[int, int]) -> dict[str, Any]:
    match event:
        case TaskRetrying():
            about = {"attempt": event.attempt, "delay": event.delay}
            return _instant(time, shown(event.reason), "retry", track, about)
        case TaskStopping():
            return _instant(time, shown(event.signal), "stop", track, {"reason": shown(event.reason)})
        case TaskReady():
            return _instant(time, "ready", "ready", track, {"attempt": event.attempt})
    raise TypeError(event)


def _instant(
    time: int, name: str, category: str, track: tuple[int, int], about: dict[str, Any]
) -> dict[str, Any]:
    return {
        **{"ph": "i", "s": "t", "cat": category, "name": name, "pid": track[0], "tid": track[1], "ts": time},
        "args": about,
    }


def _arrow(number: int, phase: str, time: int, track: tuple[int, int]) -> dict[str, Any]:
    return {
        **{"ph": phase, "cat": "dependency", "name": "depends_on", "id": number},
        **{"pid": track[0], "tid": track[1], "ts": time},
    }


def _counters(timeline: Timeline) -> Iterator[str]:
    """How many tasks run and wait, and the sum of the peaks of memory of those that run."""
    by_end = sorted(timeline.attempts, key=lambda attempt: attempt.end)
    by_begin = sorted(timeline.attempts, key=lambda attempt: attempt.begin)
    changes = heapq.merge(
        ((one.begin, 1, -(timeline.of_task[one.task][0] is one), one.max_rss) for one in by_begin),
        ((one.end, -1, 0, -one.max_rss) for one in by_end),
        ((time, 0, -1, 0) for time in sorted([time for time, _ in timeline.unstarted])),
    )
    running, memory, drawn = 0, 0, None
    waiting = len(timeline.of_task) + len(timeline.unstarted)
    for (time, run, wait, more), following in pairwise(chain(changes, [()])):
        running, waiting, memory = running + run, waiting + wait, memory + more
        if following and (following[0] == time or (drawn and time - drawn < _COUNTER_STEP)):
            continue
        drawn = time
        counter = f'{{"ph":"C","pid":1,"ts":{time},"name"'
        yield f'{counter}:"tasks","args":{{"running":{running},"waiting":{max(0, waiting)}}}}}'
        yield f'{counter}:"memory","args":{{"bytes":{max(0, memory)}}}}}'

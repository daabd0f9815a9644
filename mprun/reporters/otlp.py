"""Writes a run as OTLP/JSON: a span for the run, and one for each attempt.

The attributes are those of OpenTelemetry's conventions for CI/CD and processes, as far as there are any; the
others begin with `mprun.`. https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import visible
from mprun.outcomes import Outcome
from mprun.record.error_details import read_details
from mprun.record.events import TaskReady, TaskRetrying, TaskStopping
from mprun.record.found import CPU, END_TIME, FINISHED
from mprun.record.task_lines import target_of_start, time_of_line
from mprun.reporters.report.report_data import shown
from mprun.trace_context import TraceIds, parse_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mprun.record.events import Event, HostChanged, RunFinished, TaskFinished
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_state import TaskState
    from mprun.reporters.timeline import Attempt, Timeline

# The first bytes of every file, by which one is recognised.
BEGINNING = (
    '{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"mprun"}}'
)
_INTERNAL, _SERVER = 1, 2
_ERROR = 2
# Characters of a message or traceback, and of all tracebacks together.
_MAX_TEXT, _MAX_TRACEBACKS = 8192, 16 << 20
# `cicd.pipeline.task.run.result` and `cicd.pipeline.result`.
_RESULTS: dict[str, str] = {
    Outcome.SUCCEEDED: "success",
    Outcome.FAILED: "failure",
    Outcome.TIMED_OUT: "timeout",
    Outcome.STOPPED: "cancellation",
    Outcome.CANCELLED: "cancellation",
    Outcome.SKIPPED: "skip",
    Outcome.UNKNOWN: "error",
    Outcome.INTERRUPTED: "cancellation",
}
_FAILED = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.UNKNOWN)


def pieces(timeline: Timeline, directory: RunDirectory, *, alive: bool = False) -> Iterator[str]:
    """The file, piece by piece: one object on one line, as the collector's file receiver reads it.

    With `alive` the run is still running: what has no end yet has no result.
    """
    started = timeline.state.started
    run = started.run if started else "unknown"
    trace = (started.trace if started else None) or {}
    parent = parse_parent(str(trace.get("parent", "")), str(trace.get("state", "")))
    writer = _Spans(timeline, directory, TraceIds(run, parent), run, alive=alive)
    separator = '{"resourceSpans":['
    for host in timeline.hosts():
        is_first = host == timeline.hosts()[0]
        scope = '"scopeSpans":[{"scope":{"name":"mprun"},"spans":['
        yield f'{separator}{{"resource":{_json(_resource(timeline, host, is_first))},{scope}'
        separator, comma = "]}]},", ""
        for span in writer.of_host(host, is_first):
            yield comma + (span if isinstance(span, str) else _json(span))
            comma = ","
    yield "]}]}]}\n"


_json = json.JSONEncoder(separators=(",", ":")).encode


def _resource(timeline: Timeline, host: str, is_first: bool) -> dict[str, Any]:
    started = timeline.state.started
    values: dict[str, Any] = {"service.name": "mprun", "host.name": shown(host)}
    if started is not None and is_first:
        values |= {"process.pid": started.pid, "process.runtime.name": "cpython"}
        values["process.runtime.version"] = shown(started.python)
    return {"attributes": _attributes(values)}


class _Spans:
    def __init__(
        self, timeline: Timeline, directory: RunDirectory, ids: TraceIds, run: str, *, alive: bool
    ) -> None:
        self._timeline = timeline
        self._directory = directory
        self._ids = ids
        self._run = run
        self._alive = alive
        self._run_span_id = ids.run()
        # Characters of tracebacks that there is room for.
        self._room = _MAX_TRACEBACKS

    def of_host(self, host: str, is_first: bool) -> Iterator[dict[str, Any] | str]:
        """The spans of a host; as JSON those that there may be of each task."""
        if is_first:
            yield self._run_span()
        for attempt in self._timeline.attempts:
            if attempt.host == host:
                plain = attempt.plain
                yield self._attempt_span(attempt) if plain is None else self._plain_span(attempt, plain)
        if is_first:
            for time, finished in self._timeline.unstarted:
                yield self._unstarted_span(time, finished)

    def _span(
        self, span_id: str, name: str, kind: int, times: tuple[int, int], values: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "traceId": self._ids.trace_id,
            "spanId": span_id,
            "parentSpanId": self._ids.run(),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": _nanoseconds(times[0]),
            "endTimeUnixNano": _nanoseconds(times[1]),
            "attributes": _attributes(values),
        }

    def _run_span(self) -> dict[str, Any]:
        timeline, parent = self._timeline, self._ids.parent
        started, finished = timeline.state.started, timeline.state.finished
        job = shown(started.job) if started else "unknown"
        outcome = self._outcome(finished)
        values: dict[str, Any] = {
            **{"cicd.pipeline.name": job, "cicd.pipeline.run.id": shown(self._run)},
            **{"cicd.pipeline.action.name": "RUN", "cicd.pipeline.result": _result(outcome)},
            "cicd.pipeline.run.state": "executing" if outcome == Outcome.RUNNING else None,
        }
        if started is not None:
            values |= {"process.pid": started.pid, "mprun.file": shown(started.file, 400)}
            values["mprun.resumed_from"] = shown(started.resumed_from) if started.resumed_from else None
        if finished is not None:
            values["process.exit.code"] = finished.exit_code
        is_failed = outcome not in (Outcome.SUCCEEDED, Outcome.RUNNING)
        if is_failed:
            values["error.type"] = shown(outcome)
        times = timeline.begin, timeline.end
        span = self._span(self._ids.run(), f"RUN {job}", _SERVER, times, values)
        if parent is None:
            del span["parentSpanId"]
        else:
            span["parentSpanId"] = parent.span_id
            span |= {"traceState": parent.state} if parent.state else {}
        if timeline.host_changes:
            span["events"] = [_host_event(time, change) for time, change in timeline.host_changes]
        if is_failed:
            span["status"] = {"code": _ERROR, "message": shown(finished.reason if finished else "")}
        return span

    def _attempt_span(self, attempt: Attempt) -> dict[str, Any]:
        started, exited, finished = attempt.started, attempt.exited, attempt.finished
        outcome = self._outcome(finished)
        is_retried = any(isinstance(event, TaskRetrying) for _, event in attempt.marks)
        if is_retried:
            outcome = str(Outcome.FAILED)
        values: dict[str, Any] = {
            **self._task_values(attempt.task, outcome),
            "cicd.pipeline.task.run.id": f"{shown(self._run)}/{shown(attempt.task)}/{started.attempt}",
            **{"process.pid": started.pid, "process.parent_pid": started.ppid},
            **{"process.creation.time": shown(started.time), "mprun.target": shown(started.target, 400)},
            **{"mprun.attempt": started.attempt, "mprun.daemon": started.daemon, "mprun.slot": attempt.lane},
        }
        error = exited.error if exited else None
        if exited is not None:
            values |= {"process.exit.code": exited.exit_code, "mprun.cpu": exited.cpu}
            values |= {"mprun.max_rss": exited.max_rss, "mprun.threads": exited.threads}
            values["mprun.orphans"] = len(exited.orphans) or None
        is_failed = outcome in _FAILED
        if is_failed:
            values["error.type"] = _error_type(attempt, outcome)
        times = attempt.begin, attempt.end
        span_id = self._ids.attempt(attempt.task, started.attempt)
        span = self._span(span_id, shown(attempt.task), _INTERNAL, times, values)
        events = [_event(time, event) for time, event in attempt.marks]
        if error:
            events.append(self._exception(attempt, error))
        before = [*self._timeline.dependencies(attempt), *self._earlier(attempt)]
        span |= {"events": events} if events else {}
        span |= {"links": [self._link(one) for one in before]} if before else {}
        if is_failed:
            message = finished.reason if finished and not is_retried else ""
            span["status"] = {"code": _ERROR, "message": shown(message)}
        return span

    def _plain_span(self, attempt: Attempt, task: TaskState) -> str:
        """The same of an attempt that just succeeded, as JSON."""
        line, _, pid, ppid = task.start[:END_TIME]
        cpu, max_rss, threads = task.end[CPU:FINISHED]
        name = _json(shown(attempt.task))
        run_id = _json(f"{shown(self._run)}/{shown(attempt.task)}/1")
        used = "" if cpu == "null" else _attribute("mprun.cpu", f'{{"doubleValue":{float(cpu)}}}')
        for key, number in (("mprun.max_rss", max_rss), ("mprun.threads", threads)):
            used += "" if number == "null" else _attribute(key, f'{{"intValue":"{number}"}}')
        before = [self._link(one) for one in self._timeline.dependencies(attempt)]
        links = f',"links":{_json(before)}' if before else ""
        return (
            f'{{"traceId":"{self._ids.trace_id}","spanId":"{self._ids.attempt(attempt.task, 1)}",'
            f'"parentSpanId":"{self._run_span_id}","name":{name},"kind":{_INTERNAL},'
            f'"startTimeUnixNano":"{_nanoseconds(attempt.begin)}",'
            f'"endTimeUnixNano":"{_nanoseconds(attempt.end)}",'
            f'"attributes":[{{"key":"cicd.pipeline.task.name","value":{{"stringValue":{name}}}}},'
            f'{{"key":"cicd.pipeline.run.id","value":{{"stringValue":{_json(shown(self._run))}}}}},'
            f'{{"key":"cicd.pipeline.task.run.result","value":{{"stringValue":"success"}}}},'
            f'{{"key":"cicd.pipeline.task.run.id","value":{{"stringValue":{run_id}}}}},'
            f'{{"key":"process.pid","value":{{"intValue":"{pid}"}}}},'
            f'{{"key":"process.parent_pid","value":{{"intValue":"{ppid}"}}}},'
            f'{{"key":"process.creation.time","value":{{"stringValue":{_json(shown(time_of_line(line)))}}}}},'
            f'{{"key":"mprun.target","value":{{"stringValue":{_target(target_of_start(line))}}}}},'
            f'{{"key":"mprun.attempt","value":{{"intValue":"1"}}}},'
            f'{{"key":"mprun.daemon","value":{{"boolValue":false}}}},'
            f'{{"key":"mprun.slot","value":{{"intValue":"{attempt.lane}"}}}},'
            f'{{"key":"process.exit.code","value":{{"intValue":"0"}}}}{used}]{links}}}'
        )

    def _unstarted_span(self, time: int, finished: TaskFinished) -> dict[str, Any]:
        values = self._task_values(finished.task, finished.outcome)
        values["mprun.reason"] = shown(finished.reason) if finished.reason else None
        values["mprun.reused"] = finished.reused or None
        span_id = self._ids.attempt(finished.task, 0)
        span = self._span(span_id, shown(finished.task), _INTERNAL, (time, time), values)
        if finished.outcome in _FAILED:
            span["attributes"] += _attributes({"error.type": shown(finished.outcome)})
            span["status"] = {"code": _ERROR, "message": shown(finished.reason)}
        return span

    def _task_values(self, task: str, outcome: str) -> dict[str, Any]:
        return {
            "cicd.pipeline.task.name": shown(task),
            "cicd.pipeline.run.id": shown(self._run),
            "cicd.pipeline.task.run.result": _result(outcome),
        }

    def _outcome(self, finished: RunFinished | TaskFinished | None) -> str:
        return finished.outcome if finished else str(Outcome.RUNNING if self._alive else Outcome.UNKNOWN)

    def _exception(self, attempt: Attempt, error: Mapping[str, Any]) -> dict[str, Any]:
        """The exception that ended an attempt; its traceback is in a file of the record."""
        values = {
            name: shown(error[key], _MAX_TEXT)
            for name, key in (("exception.type", "type"), ("exception.message", "message"))
            if error.get(key) is not None
        }
        if self._room > 0:
            files = self._directory.result_files(attempt.task, attempt.started.attempt)
            details = read_details(files)
            # The end says most.
            traceback = visible(details.traceback[-_MAX_TEXT:], multiline=True) if details else ""
            self._room -= len(traceback)
            values |= {"exception.stacktrace": traceback} if traceback else {}
        return {
            **{"timeUnixNano": _nanoseconds(attempt.end), "name": "exception"},
            "attributes": _attributes(values),
        }

    def _earlier(self, attempt: Attempt) -> list[Attempt]:
        """The attempt before this one."""
        attempts = self._timeline.of_task[attempt.task]
        place = attempt.started.attempt - 2
        return [attempts[place]] if 0 <= place < len(attempts) and attempts[place] is not attempt else []

    def _link(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "traceId": self._ids.trace_id,
            "spanId": self._ids.attempt(attempt.task, attempt.started.attempt),
        }


def _attribute(key: str, value: str) -> str:
    """One more attribute, as JSON."""
    return f',{{"key":"{key}","value":{value}}}'


@lru_cache(maxsize=256)
def _target(target: str) -> str:
    return _json(shown(target, 400))


def _error_type(attempt: Attempt, outcome: str) -> str:
    exited = attempt.exited
    if outcome == Outcome.TIMED_OUT or exited is None:
        return shown(outcome)
    if exited.error:
        return shown(exited.error.get("type", "_OTHER"))
    return shown(exited.signal or (f"exit {exited.exit_code}" if exited.exit_code else outcome))


def _event(time: int, event: Event) -> dict[str, Any]:
    match event:
        case TaskRetrying():
            values: dict[str, Any] = {"mprun.attempt": event.attempt, "mprun.delay": event.delay}
            name = shown(event.reason)
        case TaskStopping():
            values = {"mprun.signal": shown(event.signal), "mprun.reason": shown(event.reason)}
            name = "stop"
        case TaskReady():
            values, name = {}, "ready"
        case _:
            raise TypeError(event)
    return {"timeUnixNano": _nanoseconds(time), "name": name, "attributes": _attributes(values)}


def _host_event(time: int, change: HostChanged) -> dict[str, Any]:
    values = {"host.name": shown(change.host), "mprun.worker": shown(change.worker) or None}
    values["mprun.reason"] = shown(change.reason) or None
    name = f"host {shown(change.change)}"
    return {"timeUnixNano": _nanoseconds(time), "name": name, "attributes": _attributes(values)}


def _result(outcome: str) -> str | None:
    return None if outcome == Outcome.RUNNING else _RESULTS.get(outcome, "error")


def _nanoseconds(time: int) -> str:
    return str(max(0, time) * 1000)


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # 64 bits do not fit into the numbers of JavaScript.
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value}

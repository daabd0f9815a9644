"""Writes the report as one HTML page, whose script and style are files beside this module.

Everything that comes from a task, or from a record, is data: jinja2 escapes it, or it is JSON in a
script element that is not run, and the script shows it by `textContent`. The page's policy allows its own
script and style, by their hashes, and nothing else: no request, no inline handler.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, partial
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any

from mprun.diagnostics import redact, visible
from mprun.jobfile.model import STANDARD_INPUT_PATH
from mprun.outcomes import Outcome, format_reason
from mprun.record import process_tree, reader
from mprun.record.commands import command, logs_command
from mprun.record.copies import is_repeated, repeat_summary
from mprun.record.run_state import RunState
from mprun.reporters.format import counts_text, format_duration, format_size, format_time, plural
from mprun.reporters.report.dependency_graph import Graph
from mprun.reporters.report.failures import MAX_FAILURES, describe_failures, failed_rows
from mprun.reporters.report.report_data import OUTCOMES, ReportData, counted, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import jinja2

    from mprun.record.process_tree import AnyProcess
    from mprun.record.state_dir import RunDirectory
    from mprun.record.task_details import TaskDetails
    from mprun.reporters.report.report_data import TaskRow
    from mprun.scheduling.estimates import Estimates

# The first bytes of every report, by which one is recognised.
BEGINNING = "<!doctype html>\n<!-- report of mprun -->\n"
# The rows of the table that the page has without its script, and the tasks in its process tree.
MAX_STATIC_ROWS, MAX_TREE_TASKS = 1000, 200
# The params and options that are shown in full, and the columns of each.
_MAX_VALUES, _MAX_VALUE_WIDTH = 200, 1000
_TASKS_PER_PIECE = 1000
_SCRIPTS = ("report.js", "timeline.js", "charts.js")


class Report:
    """What the page is made from. `joins` are those of the record, `now` is the time, as events have it.

    `damage` is what is corrupt in the record, `dependencies` has by task the names of those that it
    depended on, and why these are unknown if they are; `details` has what else the record says of each task,
    `version` is that of mprun.
    """

    def __init__(
        self,
        directory: RunDirectory,
        state: RunState,
        joins: dict[str, str],
        *,
        damage: Sequence[str] = (),
        estimates: Estimates | None = None,
        dependencies: tuple[Mapping[str, Sequence[str]], str] = ({}, "they were not read"),
        details: TaskDetails | None = None,
        now: str = "",
        version: str = "",
    ) -> None:
        self.directory = directory
        self.state = state
        self.damage = damage
        self.version = version
        self.details = details
        self.outcome = reader.run_outcome(directory, state)
        is_active = self.outcome == Outcome.RUNNING
        alive = is_active or (state.finished is not None and not state.exit_unknown)
        end = now if is_active else state.time
        self.data = ReportData(state, joins, estimates, alive=alive, now=end)
        by_name, self.no_dependencies = dependencies
        numbers = {row.task.name: row.number for row in self.data.rows}
        self.needs = {
            numbers[name]: [numbers[need] for need in needs if need in numbers]
            for name, needs in by_name.items()
            if name in numbers
        }
        self.graph = Graph(self.data.rows, self.needs)

    def pieces(self) -> Iterator[str]:
        """The page, piece by piece. The record was read before: nothing fails halfway but for a defect."""
        style, script = _resource("report.css"), "\n".join(map(_resource, _SCRIPTS))
        yield BEGINNING
        yield from _template().generate(
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
            data=self._script_data(),
            **self._values(),
        )

    def _script_data(self) -> Iterator[str]:
        """The JSON for the script, some tasks at a time: all at once would take 60 MB for 100,000."""
        values = {"outcomes": OUTCOMES, "duration": self._duration(), "needs": self._script_needs()}
        yield _script_json(values)[:-1] + ',"tasks":['
        rows, comma = self.data.script_rows(), ""
        while part := list(islice(rows, _TASKS_PER_PIECE)):
            yield comma + _script_json(part)[1:-1]
            comma = ","
        if self.data.hosts:
            yield f'],"hosts":{_script_json([shown(name) for name in self.data.hosts])}'
            yield f',"places":{_script_json(list(self.data.places()))[:-1]}'
        yield f'],"targets":{_script_json(self.data.targets())}}}'

    def _script_needs(self) -> list[list[int]] | None:
        """By task, the numbers of those that it depended on; None if they are unknown."""
        if self.no_dependencies:
            return None
        return [self.needs.get(row.number, []) for row in self.data.rows]

    def _duration(self) -> float | None:
        finished = self.state.finished
        return finished.duration if finished is not None else self.data.now

    def _values(self) -> dict[str, Any]:
        rows = self.data.rows
        counts = counted(rows)
        failed = failed_rows(rows, self.state)
        run_id = self.directory.run_id
        return {
            "run": run_id,
            "job": self._job(),
            "outcome": visible(self.outcome),
            "headline": self._headline(),
            "counts": counts,
            "outcomes": [outcome for outcome in OUTCOMES if outcome in counts],
            "total": len(rows),
            **self._repeats(),
            "facts": list(self._facts()),
            "resume": self._resume(),
            "damage": [shown(text) for text in self.damage],
            "failures": describe_failures(
                failed, len(rows), self.directory, partial(logs_command, self.directory)
            ),
            "more_failures": max(0, len(failed) - MAX_FAILURES),
            "table": _static_rows(rows, self.data),
            "hosts": self.data.hosts,
            "host_rows": self._host_rows(),
            "late": self._late(),
            "graph": self.graph,
            "no_dependencies": self.no_dependencies,
            "tree": list(self._tree()),
            "more_processes": max(0, len(rows) - MAX_TREE_TASKS),
            "tree_command": command(self.directory, "tree", run_id),
            "show_command": command(self.directory, "show", run_id),
            "params": self._mapping("params"),
            "options": self._mapping("options"),
            "tokens": self._mapping("resources"),
            "variables": _variables(self.details),
            "files": self._files(),
            "versions": list(self._versions()),
            "seconds": format_duration,
            "plural": plural,
        }

    def _job(self) -> str:
        started = self.state.started
        return shown(started.job) if started is not None else "a run without a beginning"

    def _headline(self) -> str:
        """How the run ended, in one line."""
        finished, state = self.state.finished, self.state
        if finished is None or state.exit_unknown:
            seconds = format_duration(finished.duration if finished else state.seconds(state.time))
            if self.outcome == Outcome.RUNNING:
                return f"still running, {seconds} after its start"
            return f"mprun itself was killed: exit code unknown, last event {seconds} after the start"
        why = f" ({shown(format_reason(finished.reason))})" if finished.reason else ""
        counts = counts_text(finished.counts, finished.allowed, finished.flaky)
        text = f"exit {finished.exit_code} in {format_duration(finished.duration)}{why}"
        return f"{text}: {shown(counts)}" if counts else text

    def _facts(self) -> Iterator[tuple[str, str]]:
        started = self.state.started
        if started is None:
            return
        yield "run", self.directory.run_id
        yield "file", shown(started.file, 400)
        yield "started", f"{format_time(started.time)[:19]} on {shown(started.host)}"
        mode = f"{shown(started.mode)}, at most {started.at_once} at once on {plural(started.cpus, 'core')}"
        yield "how", f"{mode}, {shown(started.start_method)}"
        if started.resumed_from is not None:
            yield "resumed from", shown(started.resumed_from)

    def _resume(self) -> str:
        """The command that resumes the run; empty if there is nothing to resume."""
        started, finished = self.state.started, self.state.finished
        if started is None or started.file == STANDARD_INPUT_PATH or self.outcome == Outcome.RUNNING:
            return ""
        if finished is not None and finished.exit_code == 0:
            return ""
        from mprun.reporters.resume_hint import resume_words

        return shown(command(self.directory, *resume_words(self.state)), 1000)

    def _repeats(self) -> dict[str, Any]:
        """How often each task failed, if the run repeated them, and how to repeat the first failure."""
        if not is_repeated(self.state.started) or (summary := repeat_summary(self.state)) is None:
            return {"rates": [], "first_failure": ""}
        from mprun.reporters.repeat_table import cells, first_failure_line

        rates = [tuple(map(shown, row)) for row in cells(summary)]
        return {"rates": rates, "first_failure": shown(first_failure_line(self.state, summary))}

    def _host_rows(self) -> list[tuple[str, ...]]:
        """What has become of the hosts, and when."""
        if not self.state.host_changes:
            return []
        from mprun.reporters.host_rows import host_rows

        rows = host_rows(self.state)
        return [
            (format_time(time)[11:] if time else "", shown(host), shown(words, 400))
            for time, host, words in rows
        ]

    def _late(self) -> list[dict[str, Any]]:
        """The tasks whose duration differs most from what was expected."""
        found = []
        for row in self.data.rows:
            expected = self.data.expected(row.task.name)
            exited = row.task.attempts[-1].exited if expected is not None and row.task.attempts else None
            if exited is not None and expected is not None:
                found.append((exited.duration - expected, row.name, expected, exited.duration))
        found.sort(key=lambda one: -abs(one[0]))
        largest = max((max(one[2], one[3]) for one in found[:_MAX_LATE]), default=0) or 1
        return [
            {
                "name": name,
                "expected": expected,
                "actual": actual,
                "difference": difference,
                "widths": (round(100 * expected / largest, 1), round(100 * max(actual, 0) / largest, 1)),
            }
            for difference, name, expected, actual in found[:_MAX_LATE]
        ]

    def _tree(self) -> Iterator[dict[str, Any]]:
        """The processes of the run with their depth, the first tasks only: a tree of all takes too long."""
        part = RunState()
        part.started, part.finished, part.items = self.state.started, self.state.finished, self.state.items
        part.time = self.state.time
        part.tasks = {row.task.name: row.task for row in self.data.rows[:MAX_TREE_TASKS]}
        roots = process_tree.build_tree(self.directory, part)
        unvisited: list[tuple[int, AnyProcess]] = [(0, root) for root in reversed(roots)]
        while unvisited:
            depth, process = unvisited.pop()
            yield _process(process, depth)
            unvisited += [(depth + 1, child) for child in reversed(process.children)]

    def _mapping(self, name: str) -> list[tuple[str, str]]:
        started = self.state.started
        found: object = getattr(started, name, None)
        values: dict[str, Any] = found if isinstance(found, dict) else {}
        pairs = [(shown(key), _value(value)) for key, value in list(values.items())[:_MAX_VALUES]]
        more = len(values) - len(pairs)
        return [*pairs, ("…", f"and {more} more, in the record")] if more else pairs

    def _files(self) -> list[tuple[str, str]]:
        started = self.state.started
        # A hostile record has whatever it likes in their place.
        files: Sequence[object] = started.files if started is not None else ()
        found = [one if isinstance(one, dict) else {} for one in files]
        pairs = [(shown(one.get("path", "?"), 400), shown(one.get("sha256", "?"))) for one in found]
        more = len(pairs) - _MAX_VALUES
        return [*pairs[:_MAX_VALUES], ("…", f"and {more} more, in the record")] if more > 0 else pairs

    def _versions(self) -> Iterator[tuple[str, str]]:
        started = self.state.started
        if started is not None:
            yield "Python", shown(started.python)
            yield "format of the record", str(started.format)
            yield "boot id", shown(started.boot_id or "unknown")
        yield "mprun that made this page", self.version


def _variables(details: TaskDetails | None) -> list[tuple[str, str]]:
    """The names of the variables that tasks set, and by how many; the record has no value of one."""
    if details is None:
        return []
    found: dict[str, int] = {}
    for number in range(len(details.names)):
        for name in details.variables(number):
            found[name] = found.get(name, 0) + 1
    pairs = [(shown(name), f"set for {plural(count, 'task')}") for name, count in sorted(found.items())]
    more = len(pairs) - _MAX_VALUES
    return [*pairs[:_MAX_VALUES], ("…", f"and {more} more, in the record")] if more > 0 else pairs


# How many tasks are listed that took longer or shorter than expected.
_MAX_LATE = 20


def _static_rows(rows: Sequence[TaskRow], data: ReportData) -> list[dict[str, Any]]:
    """The rows that need no script: all, or those that did not succeed and then the others."""
    if len(rows) > MAX_STATIC_ROWS:
        rows = sorted(rows, key=lambda row: not row.is_bad)[:MAX_STATIC_ROWS]
    return [_static_row(row, data) for row in rows]


def _static_row(row: TaskRow, data: ReportData) -> dict[str, Any]:
    attempts = row.task.attempts
    started = attempts[-1].started if attempts else None
    exited = attempts[-1].exited if attempts else None
    first = data.clock.offset(attempts[0].started.time) if attempts else None
    return {
        "name": row.name,
        "outcome": row.outcome,
        "why": row.why,
        "host": data.host_of(row.task) if data.hosts else "",
        "cells": (
            format_duration(first),
            format_duration(exited.duration if exited else None),
            format_duration(data.expected(row.task.name)),
            format_duration(exited.cpu if exited else None),
            format_size(exited.max_rss if exited else None),
            str(len(attempts)),
            str(started.pid) if started else "-",
            str(started.ppid) if started else "-",
        ),
    }


def _process(process: AnyProcess, depth: int) -> dict[str, Any]:
    name = process.name if process.item is None else f"{process.name} ({process.item})"
    attempt = f", attempt {process.attempt}" if (process.attempt or 1) > 1 else ""
    return {
        "depth": depth,
        "name": shown(name) + attempt,
        "role": "" if process.role == process.name else process.role,
        "pid": str(process.pid),
        "ppid": "-" if process.ppid is None else str(process.ppid),
        "threads": "-" if process.threads is None else str(process.threads),
        "cpu": format_duration(process.cpu),
        "memory": format_size(process.max_rss),
        "status": shown(process.status or ""),
    }


def _value(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deep)"
    return shown(redact(text), _MAX_VALUE_WIDTH)


# ---- what the page is made of


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("report.html"))


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _script_json(value: object) -> str:
    """JSON that ends no script element and begins no comment, whatever is in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

"""A plan as one JSON document, for programs."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from mprun.cli.views.plan_values import params, resolver, starting_order
from mprun.jobfile.resolution import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mprun.engine.unchanged_forecast import Expected
    from mprun.frozen import Frozen
    from mprun.jobfile.model import Expect, Whole
    from mprun.scheduling.forecast import Forecast
    from mprun.scheduling.plan import Plan, PlannedTask

# JSON has no infinity, and other readers refuse the one that Python writes.
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

NO_SKIPS: dict[str, Any] = {}

# A task with more needs takes several lines.
_NEEDS_PER_LINE = 1000


def plan_json(
    plan: Plan, forecast: Forecast | None = None, skips: Mapping[str, Expected] = NO_SKIPS
) -> Iterator[str]:
    """The lines of the document, without line feeds; a task is one line."""
    names = [planned.name for planned in plan.tasks]
    head = _written({**_of_job(plan), "expected": _expected(names, forecast)})
    yield f"{head[:-1]},"
    yield from _list("order", ([_written(names[number])] for number in starting_order(plan, forecast)), ",")
    joins = ([_written({"task": names[entry.task], "timeout": entry.timeout})] for entry in plan.join)
    yield from _list("join", joins, ",")
    yield from _list("tasks", (_task_lines(planned, names, skips) for planned in plan.tasks), "")
    yield "}"


def _list(key: str, items: Iterable[Iterable[str]], end: str) -> Iterator[str]:
    """A list whose items are lists of lines; the last item has no comma."""
    yield f'"{key}": ['
    line = ""
    for item in items:
        if line:
            yield f"{line},"
            line = ""
        for part in item:
            if line:
                yield line
            line = f"  {part}"
    if line:
        yield line
    yield f"]{end}"


def _of_job(plan: Plan) -> dict[str, Any]:
    return {
        "job": plan.job.name,
        "file": plan.job.path,
        "start_method": plan.start_method,
        "fail_fast": plan.job.fail_fast,
        "flaky": plan.flaky or plan.job.flaky,
        "on_host_lost": plan.job.on_host_lost,
        "timeout": plan.job.timeout,
        "max_parallel": plan.max_parallel,
        "cpus": plan.cpus,
        "at_once": plan.max_concurrency,
        "mode": plan.mode,
        "resources": plan.job.resources,
        "params": params(plan),
        "partition": _partition(plan),
    }


def _partition(plan: Plan) -> dict[str, Any] | None:
    if plan.division is None:
        return None
    from mprun.cli.views.plan_shards import shards_json

    return shards_json(plan.job, plan.division)


def _expected(names: list[str], forecast: Forecast | None) -> dict[str, Any] | None:
    """The forecast from earlier runs; times in seconds, null if they are not known."""
    if forecast is None:
        return None
    return {
        "seconds": forecast.seconds,
        "runs": forecast.runs,
        "tasks_of_unknown_duration": forecast.new,
        "critical_path_first": forecast.plan.priorities is not None,
        "critical_path": [names[number] for number in forecast.path],
        "critical_path_seconds": forecast.path_seconds,
    }


def _task_lines(planned: PlannedTask, names: list[str], skips: Mapping[str, Expected]) -> Iterator[str]:
    """A task as one line, or several if it has very many needs: they must not all be in memory at once."""
    head = f'{_written(_task(planned, skips.get(planned.name)))[:-1]}, "needs": ['
    for start in range(0, len(planned.needs), _NEEDS_PER_LINE):
        needs = planned.needs[start : start + _NEEDS_PER_LINE]
        line = ", ".join(_written({"task": names[number], "condition": of}) for number, of in needs)
        if start + _NEEDS_PER_LINE < len(planned.needs):
            yield f"{head}{line},"
            head = ""
        else:
            head += line
    yield f"{head}]}}"


def _task(planned: PlannedTask, expected: Expected | None) -> dict[str, Any]:
    task = planned.task
    resolved = resolver(planned)
    args, kwargs, command, when, foreach, cwd, result = (
        shown(resolved(node))
        for node in (
            task.args,
            task.kwargs,
            task.command,
            task.when,
            task.foreach,
            task.cwd,
            task.expect.result if task.expect else None,
        )
    )
    return {
        "name": planned.name,
        "target": task.target,
        "args": args,
        "kwargs": kwargs,
        "command": command,
        "daemon": task.daemon,
        "depends_on": {dependency.task: dependency.condition for dependency in task.depends_on},
        "when": when,
        "skipped": planned.skipped,
        "matrix": _matrix(planned, resolved),
        "foreach": foreach,
        "retry": task.retry.to_dict(),
        "timeout": task.timeout,
        "recipe": _recipe(task.whole),
        "stop": task.stop.to_dict(),
        "restart": task.restart,
        "ready": _fields(task.ready),
        "capture": task.capture,
        "resources": task.resources,
        "host": task.host or {},
        "limits": _fields(task.limits),
        "expect": _expect(task.expect, result),
        "allow_failure": task.allow_failure,
        "flaky": task.flaky,
        "artifacts": task.artifacts,
        "inputs": task.inputs,
        "outputs": task.outputs,
        "unchanged": expected and {**expected.to_dict(), "since": expected.since or None},
        "start_method": planned.start_method,
        "cwd": cwd,
        "env": sorted(map(str, task.env)),
        "tags": task.tags,
        "description": task.description,
    }


# What `retry` of a recipe does not have.
_OF_TASKS = ("exceptions", "exit_codes")


def _recipe(whole: Whole | None) -> dict[str, Any] | None:
    if whole is None:
        return None
    retry = {key: value for key, value in whole.retry.to_dict().items() if key not in _OF_TASKS}
    return {"name": whole.name, "retry": retry, "timeout": whole.timeout}


def _matrix(planned: PlannedTask, resolved: Callable[[Any], Any]) -> dict[str, Any]:
    values = (shown(resolved(value)) for value in planned.values)
    # A `foreach` over a result has no values before the run.
    return dict(zip(planned.task.axes, values, strict=False))


def _fields(value: Frozen | None) -> dict[str, Any] | None:
    return None if value is None else value.to_dict()


def _expect(expect: Expect | None, result: Any) -> dict[str, Any] | None:
    """The expectations; `result` only if there is one, because null may be expected."""
    if expect is None:
        return None
    fields = {**expect.to_dict(), "result": result}
    if not fields.pop("has_result"):
        del fields["result"]
    return fields


def _written(value: Any) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError):
        return _encode(_plain(value))


def _plain(node: Any) -> Any:
    """The value in terms of JSON; numbers that JSON does not have are written as in YAML."""
    if isinstance(node, dict):
        return {key if isinstance(key, str) else _key(key): _plain(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_plain(item) for item in node]
    if isinstance(node, float) and not math.isfinite(node):
        return ".nan" if math.isnan(node) else ".inf" if node > 0 else "-.inf"
    return node if node is None or isinstance(node, (str, int, float)) else repr(node)


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else _encode(plain)

"""The notes beside a task in a plan: its dependencies, limits, retries and other settings, in short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.cli.views.plan_values import beginning, dependency_name
from mprun.jobfile.model import PASSED, Ready, Stop
from mprun.jobfile.references import references
from mprun.jobfile.resolution import as_text, shown
from mprun.jobfile.units import duration_text, size_text
from mprun.reporters.format import plural, truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mprun.engine.unchanged_forecast import Expected
    from mprun.jobfile.model import Dependency, Expect, Limits, Retry, Task, Whole
    from mprun.scheduling.plan import Plan, PlannedTask

# How many entries of a list are shown, and how many columns of a value or a pattern.
MAX_ENTRIES = 10
MAX_VALUE_WIDTH = 60

_DEFAULT_STOP = Stop()
_DEFAULT_READY = Ready(kind="", what="")


def notes(
    planned: PlannedTask, plan: Plan, resolved: Callable[[Any], Any], expected: Expected | None = None
) -> Iterator[str]:
    """The notes of a task: what is expected of it, and its settings that are not the default."""
    task = planned.task
    if expected is not None:
        yield _skip_note(expected)
    yield from _when_note(planned, resolved)
    if task.daemon:
        yield "daemon"
    if task.foreach is not None:
        each = "for each combination of" if isinstance(task.foreach, dict) else "for each of"
        yield f"{each} {_text(resolved(task.foreach))}"
    if task.depends_on:
        yield f"after {_some([_dependency(one, planned, plan) for one in task.depends_on])}"
    if task.resources:
        yield f"holds {_some([f'{name}:{number}' for name, number in task.resources.items()])}"
    if task.host:
        # Without a number, each instance has its own.
        needed = [f"{name}:{number:g}" if number else name for name, number in task.host.items()]
        yield f"needs a host with {_some(needed)}"
    if task.ready is not None:
        yield _ready(task.ready)
    yield from _end_notes(task)
    if task.limits is not None:
        yield f"limits: {', '.join(_limits(task.limits))}"
    if task.expect is not None:
        yield f"expects {', '.join(_expected(task.expect, resolved))}"
    if task.capture is not None:
        yield f"captures {task.capture}"
    yield from _policy_notes(task, plan)
    # A command is always forked, whatever the start method.
    if task.command is None and planned.start_method != plan.start_method:
        yield planned.start_method


def _skip_note(expected: Expected) -> str:
    if expected.skipped:
        return f"skipped: {expected.why}"
    return f"{'runs' if expected.skipped is False else 'may be skipped'}: {expected.why}"


def _policy_notes(task: Task, plan: Plan) -> Iterator[str]:
    if task.artifacts:
        yield "keeps artifacts"
    if task.allow_failure:
        yield "may fail"
    if task.retry.retries and plan.fails_if_flaky(task):
        yield "must not be flaky"
    if task.whole is not None:
        yield from _whole_notes(task.whole)


def _when_note(planned: PlannedTask, resolved: Callable[[Any], Any]) -> Iterator[str]:
    when = planned.task.when
    if planned.skipped:
        yield "skipped: `when` is false"
    elif when is not True:
        when = resolved(when)
        if any(True for _ in references(when)):
            yield f"when {_text(when)}"


def _dependency(dependency: Dependency, planned: PlannedTask, plan: Plan) -> str:
    condition = "" if dependency.condition in (None, PASSED) else f" {dependency.condition}"
    return f"{dependency_name(dependency, planned, plan)}{condition}"


def _ready(ready: Ready) -> str:
    within = "" if ready.timeout == _DEFAULT_READY.timeout else f" within {duration_text(ready.timeout)}"
    longest = ready.try_timeout
    each = "" if longest == _DEFAULT_READY.try_timeout else f", {duration_text(longest)} for one try"
    return f"ready {ready.kind} {_text(ready.what)}{within}{each}"


def _end_notes(task: Task) -> Iterator[str]:
    if task.retry.retries:
        yield _retries(task.retry)
    if task.timeout is not None:
        yield f"timeout {duration_text(task.timeout)}"
    if task.stop != _DEFAULT_STOP:
        whom = " to its process" if task.stop.to == "process" else ""
        yield f"stopped by {task.stop.signal}{whom}, killed {duration_text(task.stop.grace)} later"
    if task.restart != "never":
        yield f"restart {task.restart}"


def _whole_notes(whole: Whole) -> Iterator[str]:
    """What all tasks of its recipe have together."""
    if whole.retry.retries:
        yield f"{whole.name} has {_retries(whole.retry)}"
    if whole.timeout is not None:
        yield f"{whole.name} has timeout {duration_text(whole.timeout)}"


def _retries(retry: Retry) -> str:
    text = plural(retry.retries, "retry", "retries")
    if retry.delay:
        text += f" after {duration_text(retry.delay)}"
        text += f" × {retry.backoff:g}" if retry.backoff != 1 else ""
        text += f" up to {duration_text(retry.max_delay)}" if retry.max_delay is not None else ""
    reasons = [*retry.exceptions, *(f"exit {code}" for code in retry.exit_codes)]
    return f"{text} on {_some(reasons)}" if reasons else text


def _limits(limits: Limits) -> Iterator[str]:
    if limits.memory is not None:
        yield f"memory {size_text(limits.memory)}"
    if limits.cpu_time is not None:
        yield f"cpu time {duration_text(limits.cpu_time)}"
    if limits.open_files is not None:
        yield f"open files {limits.open_files}"
    if limits.nice is not None:
        yield f"nice {limits.nice}"
    if isinstance(limits.cpus, tuple):
        yield f"on {'core' if len(limits.cpus) == 1 else 'cores'} {' '.join(map(str, limits.cpus))}"
    elif limits.cpus is not None:
        yield f"on {plural(limits.cpus, 'core')}"
    if limits.log is not None:
        yield f"log {size_text(limits.log)}"


def _expected(expect: Expect, resolved: Callable[[Any], Any]) -> Iterator[str]:
    if expect.exit_codes:
        yield f"exit {' or '.join(map(str, expect.exit_codes))}"
    if expect.has_result:
        yield f"result {_text(resolved(expect.result))}"
    if expect.raises is not None:
        yield f"{expect.raises} raised"
    if expect.output is not None:
        yield f"output like `{_text(expect.output)}`"
    if expect.max_seconds is not None:
        yield f"at most {duration_text(expect.max_seconds)}"
    if expect.max_rss is not None:
        yield f"at most {size_text(expect.max_rss)}"


def _some(entries: list[str]) -> str:
    more = [f"… {len(entries) - MAX_ENTRIES:,} more"] if len(entries) > MAX_ENTRIES else []
    return ", ".join([*entries[:MAX_ENTRIES], *more])


def _text(value: Any) -> str:
    return truncate(as_text(shown(beginning(value, MAX_VALUE_WIDTH))), MAX_VALUE_WIDTH)

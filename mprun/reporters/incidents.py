"""Lines about failures, retries, restarts, skips, single tasks that are stopped, and what was left running.

FAIL      lint  exit 1 after 1.02s
RETRY 1/3 connect  ConnectionError: refused, again in 0.4s
FLAKY     connect  succeeded at attempt 2
KILLED    serve  1 process that it had left running: 4711 (redis-server); use `daemon: true` for a service
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import visible
from mprun.outcomes import Outcome, format_exit, format_reason
from mprun.record.copies import without_copy
from mprun.record.events import TaskFinished, TaskRetrying
from mprun.reporters.format import format_duration, plural
from mprun.reporters.table import MAX_ROWS, error_words, orphans_of, with_item
from mprun.scheduling.retry import FLAKY, HOST_LOST, RECIPE, RESTART, RETRY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState

# SGR codes: a failure is red, the others yellow.
FAIL_STYLE, OTHER_STYLE = "1;31", "33"
_HEAD_WIDTH = 10
# What other attempts than retries are called.
_HEADS = {RESTART: "RESTART", HOST_LOST: "RERUN"}
# No one would read more pids.
_MAX_PIDS = 5


class Incidents:
    """Makes the lines of one run; `retries` has the number of retries that a task is allowed, by name."""

    def __init__(self, retries: Mapping[str, int]) -> None:
        self._retries = retries
        # By the first word of a line: thousands of tasks may be skipped because one has failed.
        self._counts: dict[str, int] = {}

    def line(self, event: TaskFinished | TaskRetrying, state: RunState) -> tuple[str, str] | None:
        """The line about an event, and its style; None if there is nothing to say, or too much."""
        task = state.tasks[event.task]
        if isinstance(event, TaskRetrying):
            head, text = self._another_attempt(event, task)
        else:
            head, text = _end(event, task)
        kind = head.partition(" ")[0]
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count > MAX_ROWS:
            return (f"{head:<{_HEAD_WIDTH}}… (no more of these lines)", "") if count == MAX_ROWS + 1 else None
        line = f"{head:<{_HEAD_WIDTH}}{with_item(event.task, state.items.get(event.task))}  {text}"
        return visible(line.replace("\n", " ")), FAIL_STYLE if kind == "FAIL" else OTHER_STYLE

    def _another_attempt(self, event: TaskRetrying, task: TaskState) -> tuple[str, str]:
        number = str(event.attempt - 1)
        if event.reason == RETRY:
            # The instances of a `foreach` over a result, `fetch[0]`, are not known before the run, nor are
            # copies that are added during it.
            task_name = without_copy(event.task)
            names = (event.task, event.task.rpartition("[")[0], task_name, task_name.rpartition("[")[0])
            limit = next((self._retries[name] for name in names if name in self._retries), 0)
            # With a recipe that runs again, it may have more.
            number += f"/{limit}" if event.attempt - 1 <= limit else ""
        head = f"{_HEADS.get(event.reason, 'RETRY')} {number} "
        again = f"again in {_delay(event.delay)}" if event.delay else "again at once"
        if event.reason == RECIPE:
            again += " with all of its recipe"
        ended = format_reason(HOST_LOST) if event.reason == HOST_LOST else _attempt_words(task)
        return head, f"{ended}, {again}"


def _end(event: TaskFinished, task: TaskState) -> tuple[str, str]:
    reason = format_reason(event.reason)
    if event.outcome == Outcome.SUCCEEDED:
        orphans = orphans_of(task)
        if not event.flaky:
            return "KILLED", _left_behind(orphans)
        fails = f", {format_reason(FLAKY)}" if event.reason == FLAKY else ""
        left = f"; killed {_left_behind(orphans)}" if orphans else ""
        return "FLAKY", f"succeeded at attempt {event.attempts}{fails}{left}"
    if event.outcome == Outcome.SKIPPED:
        return "SKIP", reason
    if event.outcome == Outcome.CANCELLED:
        return "STOP", f"{event.outcome}: {reason}"
    exited = task.attempts[-1].exited if task.attempts else None
    if exited is not None:
        error = error_words(exited) if event.outcome == Outcome.FAILED else ""
        after = "" if event.outcome == Outcome.TIMED_OUT else f" after {format_duration(exited.duration)}"
        reason += error + after
    allowed = " (allowed)" if event.allowed else ""
    return "STOP" if event.outcome == Outcome.STOPPED else "FAIL", reason + allowed


def _left_behind(pids: Sequence[str]) -> str:
    shown = ", ".join(pids[:_MAX_PIDS]) + (", …" if len(pids) > _MAX_PIDS else "")
    processes = plural(len(pids), "process", "processes")
    return f"{processes} that it had left running: {shown}; use `daemon: true` for a service"


def _attempt_words(task: TaskState) -> str:
    """How the last attempt of a task ended, in short: `ConnectionError: refused`, `exit 3`."""
    attempt = task.attempts[-1] if task.attempts else None
    if attempt is None or attempt.exited is None:
        return "could not be started"
    if attempt.stopping is not None:
        return format_reason(attempt.stopping.reason)
    exited = attempt.exited
    if str((exited.error or {}).get("type") or "") not in ("", "SystemExit"):
        return error_words(exited)[2:-1]
    return format_exit(exited.exit_code, exited.signal, exited.core_dumped)


def _delay(seconds: float) -> str:
    return f"{seconds:.2g}s" if seconds < 10 else format_duration(seconds)

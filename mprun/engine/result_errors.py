"""The errors of a run's result, for callers from Python: an unknown task, and a run that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.diagnostics import quote, suggest, visible
from mprun.errors import RunFailed, UnknownTask
from mprun.outcomes import BAD

if TYPE_CHECKING:
    # `mprun.engine.run` imports this module.
    from typing import Any as RunResult
    from typing import Any as TaskResult

# How many tasks a message names, and characters of what is said of each.
_MAX_TASKS = 5
_MAX_CHARACTERS = 200


def unknown_task(run: RunResult, name: str) -> UnknownTask:
    """The error for a name that no task of the run has."""
    names = {task.name for task in run.tasks}
    inside = [task.name for task in run.tasks if task.name.startswith((f"{name}[", f"{name}/"))]
    hint = f"it has {_some(inside)}" if inside else suggest(str(name), names, "tasks")
    return UnknownTask(f"run {run.run_id} has no task {quote(str(name))}" + (f"; {hint}" if hint else ""))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_TASKS} more" if len(names) > _MAX_TASKS else ""
    return ", ".join(map(quote, names[:_MAX_TASKS])) + more


def run_failed(run: RunResult) -> RunFailed:
    """The error for a run whose exit code is not 0; the tasks that failed are named, a line each."""
    failures = tuple(task for task in run.tasks if task.outcome in BAD and not task.allowed)
    why = f" ({visible(run.reason)})" if run.reason else ""
    lines = [f"run {run.run_id} {visible(run.outcome)}{why}: exit {run.exit_code}"]
    lines += [f"{quote(task.name)} {_described(task)}" for task in failures[:_MAX_TASKS]]
    if len(failures) > _MAX_TASKS:
        lines.append(f"and {len(failures) - _MAX_TASKS} more")
    return RunFailed("\n".join(lines), run=run, failures=failures)


def _described(task: TaskResult) -> str:
    """How a task failed, on one line."""
    words = [task.outcome, task.reason]
    if (error := task.error) is not None:
        words.append(f"{error.type}: {error.message}" if error.message else error.type)
    text = visible(": ".join(filter(None, words)).replace("\n", " "))
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"

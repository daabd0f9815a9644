"""On which hosts a run is: those that its record names, if there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.scheduling.retry import HOST_LOST

if TYPE_CHECKING:
    from mprun.record.events import RunStarted
    from mprun.record.run_state import RunState
    from mprun.record.task_state import TaskState


def several_hosts(started: RunStarted | None) -> tuple[str, ...]:
    """The names of the hosts of a run, each once; none if it is on one host alone."""
    # A hostile record has whatever it likes there.
    listed: Any = started.hosts if started is not None else None
    names = dict.fromkeys(
        one["host"] for one in listed or () if isinstance(one, dict) and isinstance(one.get("host"), str)
    )
    return tuple(names) if len(names) > 1 else ()


def hosts_by_task(state: RunState) -> dict[str, str]:
    """The host of the last attempt of each task that had one; none if the run is on one host alone."""
    if not several_hosts(state.started):
        return {}
    return {task.name: task.attempts[-1].started.host for task in state.in_order() if task.attempts}


def count_lost(task: TaskState) -> int:
    """How many attempts of a task were followed by another one because their host was lost."""
    return sum(one.retrying is not None and one.retrying.reason == HOST_LOST for one in task.attempts)

"""The state of a run: a fold over its events, from which everything that is shown of it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mprun.record import task_state
from mprun.record.events import (
    Event,
    HostChanged,
    RunFinished,
    RunStarted,
    TaskFinished,
    TasksPlanned,
)
from mprun.record.task_state import AttemptState as AttemptState
from mprun.record.task_state import TaskState as TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class RunState:
    """A run so far, by its events; `tasks` in the order of their first events.

    `time` is the time of the last event. `items` has, by name, the item of instances of a `foreach`.
    """

    def __init__(self) -> None:
        self.time = ""
        self.started: RunStarted | None = None
        self.finished: RunFinished | None = None
        self.tasks: dict[str, TaskState] = {}
        self.items: dict[str, str] = {}
        self.host_changes: list[HostChanged] = []
        # By the task that was expanded, empty for the whole plan: the names, in the order of the file.
        self._planned: dict[str, list[str]] = {}

    def expansions(self) -> dict[str, list[str]]:
        """The instances that are known so far of each task that was expanded, by its name."""
        return {name: instances for name, instances in self._planned.items() if name}

    def planned_names(self) -> list[str]:
        """The tasks that are known so far, in the order of the file and of the lists of a `foreach`.

        A task that was expanded is replaced by its instances. Empty if the record does not say.
        """
        expanded = self._planned
        if len(expanded) == 1:
            return list(filter(None, expanded.get("", ())))
        return [one for name in expanded.get("", ()) for one in (expanded.get(name, (name,)) if name else ())]

    def plan_names(self) -> list[str]:
        """The tasks of the plan before any was expanded, in the order of the file."""
        return list(self._planned.get("", ()))

    def instances_of(self, name: str) -> Sequence[str]:
        """What a task of the plan was expanded to during the run; itself if it was not."""
        return self._planned.get(name, (name,)) if name else ()

    def known_names(self) -> list[str]:
        """The tasks of the plan in the order of the file, then those that only other events name."""
        return list(dict.fromkeys((*self.planned_names(), *self.tasks)))

    def may_expand(self, lists: list[str]) -> bool:
        """Whether a result may yet expand one of these tasks; those that none will are removed at the end."""
        while lists and (lists[-1] in self._planned or self._has_outcome(lists[-1])):
            lists.pop()
        return bool(lists)

    def _has_outcome(self, name: str) -> bool:
        return name in self.tasks and self.tasks[name].outcome is not None

    def in_order(self) -> list[TaskState]:
        """The tasks in the order of the file, those without a place in it last."""
        tasks = self.tasks
        names = self.planned_names()
        if names == list(tasks):
            # To look each of 100,000 up takes twice as long.
            return list(tasks.values())
        planned = set(names)
        if len(planned) < len(names):
            # Of a name that is there twice, the last place counts.
            names = list(dict.fromkeys(reversed(names)))[::-1]
        found = list(filter(None, map(tasks.get, names)))
        if len(found) < len(tasks):
            found += [task for name, task in tasks.items() if name not in planned]
        return found

    def has_order(self) -> bool:
        """Whether the record has the order of the file."""
        return any(self._planned.get("", ()))

    def not_begun(self) -> list[str]:
        """The tasks of the plan that have had no event, in the order of the file."""
        return [name for name in self.planned_names() if name not in self.tasks]

    def task(self, name: str) -> TaskState:
        """The state of a task, a new one if it has had no event yet."""
        if name not in self.tasks:
            self.tasks[name] = TaskState(name)
        return self.tasks[name]

    def apply(self, event: Event) -> None:
        """Take one more event. An event of an attempt that never started changes nothing."""
        self.time = event.time
        _APPLIERS[type(event)](self, event)

    @property
    def exit_unknown(self) -> bool:
        """Whether mprun was killed, and the next start has completed the record."""
        return self.finished is not None and self.finished.exit_code is None

    def seconds(self, until: str) -> float | None:
        """From its start until a time in ISO 8601; None if the record does not say.

        Never less than 0, even if the clock was set back.
        """
        # 3 ms to import; a finished run has its duration in an event.
        from datetime import datetime

        try:
            begun = datetime.fromisoformat(self.started.time if self.started else "")
            return max(0.0, (datetime.fromisoformat(until) - begun).total_seconds())
        except (TypeError, ValueError):
            return None

    def running_daemons(self) -> list[str]:
        """The names of the daemons that are running, in the order in which they started."""
        return [
            task.name for task in self.tasks.values() if task.is_running and task.attempts[-1].started.daemon
        ]

    def count_flaky(self) -> int:
        """How many tasks succeeded only after they were retried."""
        return sum(task.finished is not None and task.finished.flaky for task in self.tasks.values())

    def counts(self) -> dict[str, int]:
        """How many tasks have each outcome; outcomes that no task has are left out."""
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            if task.outcome is not None:
                counts[task.outcome] = counts.get(task.outcome, 0) + 1
        return counts


# ---- what each kind of event changes


def _apply_run_started(run: RunState, event: RunStarted) -> None:
    run.started = event


def _apply_tasks_planned(run: RunState, event: TasksPlanned) -> None:
    # A long list comes in parts.
    run._planned.setdefault(event.group, []).extend(event.tasks)
    run.items.update(event.items)


def _apply_host_changed(run: RunState, event: HostChanged) -> None:
    # Few runs are on several hosts.
    from mprun.record.joined_hosts import with_joined

    run.host_changes.append(event)
    run.started = with_joined(run.started, event)


def _apply_run_finished(run: RunState, event: RunFinished) -> None:
    run.finished = event


def _apply_task_event(run: RunState, event: Any) -> None:
    task_state.APPLIERS[type(event)](run.task(event.task), event)


def _apply_task_finished(run: RunState, event: TaskFinished) -> None:
    task = run.task(event.task)
    task.finish(event)
    task.pack()


_APPLIERS: dict[type[Event], Callable[[RunState, Any], None]] = {
    RunStarted: _apply_run_started,
    TasksPlanned: _apply_tasks_planned,
    HostChanged: _apply_host_changed,
    RunFinished: _apply_run_finished,
    **dict.fromkeys(task_state.APPLIERS, _apply_task_event),
    TaskFinished: _apply_task_finished,
}

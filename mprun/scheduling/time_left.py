"""How long a run will still take, by how long its tasks took in earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mprun.scheduling.critical_path import Priorities
from mprun.scheduling.estimates import Estimates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mprun.scheduling.estimates import RunTimings
    from mprun.scheduling.plan import Plan

# In a larger plan the paths of tasks are not looked for: it would take too long during a run.
MAX_TASKS = 2000


class TimeLeft:
    """What is left of a run; `runs` are the earlier runs, the newest first, and must not be empty.

    It is at least the work that is left, divided by the slots, and at least the longest path from a task
    that is running to the end.
    """

    def __init__(self, plan: Plan, runs: Sequence[RunTimings]) -> None:
        self._estimates = Estimates(runs)
        self._slots = max(1, plan.max_concurrency)
        priorities = plan.priorities
        if priorities is None and len(plan.tasks) <= MAX_TASKS:
            priorities = Priorities(plan, self._estimates)
        self._paths: dict[str, float] = {}
        # The seconds of each task that has not ended.
        self._work: dict[str, float] = {}
        for number, planned in enumerate(plan.tasks):
            if isinstance(priorities, Priorities):
                self._paths[planned.name] = priorities.seconds_from(number)
            if planned.skipped or planned.reused is not None or planned.task.daemon:
                continue
            if planned.task.foreach is None:
                self._work[planned.name] = self._estimates.duration(planned.name)
            else:
                names = self._estimates.instances(planned.name)
                self._work[planned.name] = sum(map(self._estimates.duration, names))
        self._left = sum(self._work.values())

    def expand(self, group: str, names: Iterable[str]) -> None:
        """Take the instances of a task in its place."""
        self.end(group)
        for name in names:
            seconds = self._work[name] = self._estimates.duration(name)
            self._left += seconds

    def end(self, name: str) -> None:
        """Take a task as ended."""
        self._left -= self._work.pop(name, 0.0)

    def seconds(self, running: Iterable[tuple[str, float]]) -> float:
        """How long the run will still take, with each running task and for how long it has been running."""
        left, longest = self._left, 0.0
        for name, elapsed in running:
            own = self._work.get(name, 0.0)
            left -= min(own, elapsed)
            path = max(self._paths.get(name, 0.0), own)
            longest = max(longest, path - min(own, elapsed))
        return max(0.0, left / self._slots, longest)
